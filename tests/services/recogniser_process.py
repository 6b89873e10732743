"""The sub-second lane as a process of its own, for tests that kill it: settings as JSON on standard input, one line.

The real lane with the real broker, keys and decoding, and a registry in memory with one model a family, so that no
MLflow is needed. Prints `ready` when the group gave it its share; told to end, it prints JSON: records by outcome, and
by how many MiB the peak of its memory grew since it was ready.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading

from benchmarks._lanes import peak_mib
from resources.decoding import DecodePool
from resources.keys import open_key_store
from resources.settings import load_settings
from services.recogniser.app import deliverer_of
from services.recogniser.champions import Champions
from services.recogniser.engine import Edges, Recogniser
from services.recogniser.metrics import Metrics
from tests.resources.learning.answers import promoted, some_model
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.families import FAMILIES


def main() -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    settings = load_settings(json.loads(sys.stdin.readline()))
    registry = RegistryInMemory()
    for family in FAMILIES:
        promoted(registry, some_model(), family)
    metrics = Metrics()
    edges = Edges(
        keys=open_key_store(settings),
        deliverer=deliverer_of(settings),
        pool=DecodePool(settings),
        champions=Champions(lambda: registry, FAMILIES, metrics),
    )
    lane = Recogniser(settings, edges, metrics)
    lane.start()
    began = 0
    while not stop.wait(0.05):
        if lane.joined():
            began = peak_mib()
            print("ready", flush=True)
            stop.wait()
    lane.close()
    outcomes = {
        sample.labels["outcome"]: int(sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "darkroom_recogniser_records_total"
    }
    print(json.dumps({"outcomes": outcomes, "grown": peak_mib() - began}), flush=True)


if __name__ == "__main__":
    main()
