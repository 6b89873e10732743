"""From an acknowledged upload to its answer on images.recognised, beside a relay that does no work; rates and memory.

Both trips are made in turn at 50 images/s on the running stack: the stack's own instance between the upload door and
the topic of answers, and a process that only consumes and produces, over topics of its own, with records of the same
size. Rates are of instances of the benchmark's own on a backlog of photographs, with one decoding process each; the
processor time is theirs and their decoders' alone, and so the better figure. Where MLflow names no champion, a model of
random numbers is promoted first: what it answers does not matter here.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from confluent_kafka import Producer

from benchmarks._answers import WAIT_SECONDS, Arrivals, own_topics, ready, tell
from benchmarks._photographs import photographs
from benchmarks._sealed import sealed_records
from benchmarks._stack import darkroom, status
from benchmarks.figures import Figure, median, spread
from cli.dataset import digits
from resources.kafka import producer_config
from resources.mlflow_registry import open_registry
from resources.registry import CHAMPION, Learned
from resources.settings import MEBIBYTE, Settings, load_settings
from stack.paths import Layout
from transforms.families import DIGITS, FAMILIES
from transforms.features import COUNT, RECIPE
from transforms.onnx_models import export
from transforms.recognition import train

REPEATS = 3
RATE = 50
IMAGES = 300
CONNECTIONS = 8
"""Of the client, opened before the clock counts: one more for each upload that waits would cost the door's time."""
BACKLOG = 400
P50_MS, P99_MS = 40, 250


def run() -> list[Figure]:
    """Both trips, then rates with one and two instances, and memory."""
    home = Path(os.environ["DARKROOM_HOME"])
    settings, state = load_settings(), status(home)
    with a_champion(settings, state):
        return [*_trips(home, settings, state), *_rates(home, settings)]


def _trips(home: Path, settings: Settings, state: dict[str, Any]) -> list[Figure]:
    figures = []
    sizes = {"digits": [item.read() for item in digits()[:8]], "photographs": photographs(8)}
    for kind, images in sizes.items():
        lane: list[tuple[float, float]] = []
        floor: list[tuple[float, float]] = []
        for _ in range(REPEATS):
            floor.append(_percentiles(_relayed(settings, len(images[0]))))
            lane.append(_percentiles(_uploaded(home, state, settings, images)))
        for place, (name, aim) in enumerate((("p50", P50_MS), ("p99", P99_MS))):
            ours, bare = [one[place] for one in lane], [one[place] for one in floor]
            how = f"{RATE} images/s of {len(images[0]) / 1000:.1f} kB; {spread(ours)}"
            figures += [
                Figure(f"acknowledged upload to answer, {kind}, {name}", median(ours), "ms", aim, "at most", how),
                Figure(f"  of a relay without work, {name}", median(bare), "ms", None, detail=spread(bare)),
            ]
    memory = psutil.Process(state["services"]["recogniser"]["pid"]).memory_info().rss / MEBIBYTE
    return [*figures, Figure("memory of the stack's instance, without decoders", memory, "MiB", None)]


def _rates(home: Path, settings: Settings) -> list[Figure]:
    figures = []
    for count in (1, 2):
        rate, cpu, peak = _worked_off(home, settings, count)
        named = f"{count} instance{'s' if count > 1 else ''}, {count} partition{'s' if count > 1 else ''}"
        detail = f"{BACKLOG} photographs of 1 to 2 megapixels, one decoder an instance"
        figures += [
            Figure(f"images a second, {named}", rate, "images/s", None, detail=detail),
            Figure("  for each second of processor time", 1 / cpu, "images", None, detail=f"{cpu * 1000:.1f} ms each"),
            Figure("  peak memory of an instance, without its decoder", peak, "MiB", None),
        ]
    return figures


@contextmanager
def a_champion(settings: Settings, state: dict[str, Any]) -> Iterator[None]:
    """While the block runs MLflow names a champion of every family, and the stack's instance has it.

    Where there was none it is one of random numbers, and its alias is taken away again.
    """
    registry, made = open_registry(settings), []
    random = np.random.default_rng(0)
    labels = [str(number % 10) for number in range(100)]
    model = export(train(DIGITS, random.random((100, COUNT)), labels), RECIPE, COUNT)
    for family in FAMILIES:
        if registry.at(family.name, CHAMPION) is None:
            version = registry.register(Learned(family.name, model, {}, {}, {}))
            registry.move(version, CHAMPION, who="a benchmark", why="there was none")
            made.append(family.name)
    try:
        trust = ssl.create_default_context(cafile=state["recogniser"]["ca"])
        trust.load_cert_chain(state["recogniser"]["client"])
        _until_ready(state["recogniser"]["url"], trust)
        yield
    finally:
        for name in made:
            registry._client.delete_registered_model_alias(name, CHAMPION)


def _until_ready(url: str, trust: ssl.SSLContext) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    with httpx.Client(verify=trust, timeout=10) as client:
        while True:
            with suppress(httpx.HTTPError):
                answer = client.get(f"{url}/readyz").json()
                if answer["ready"] and len(answer["versions"]) == len(FAMILIES):
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url} did not become ready with a model in {WAIT_SECONDS:.0f} s")
            time.sleep(0.2)


def _uploaded(home: Path, state: dict[str, Any], settings: Settings, images: list[bytes]) -> list[float]:
    """Seconds from the door's acknowledgement to the answer, of each image."""
    door, token = urlsplit(state["uploads"]["url"]), darkroom(home, "token").strip()
    trust, mine = ssl.create_default_context(cafile=state["uploads"]["ca"]), threading.local()
    connected = threading.Barrier(CONNECTIONS)

    def connect() -> None:
        mine.connection = HTTPSConnection(door.netloc, context=trust, timeout=60)
        upload(0)  # and the day's key opened, before the clock counts
        connected.wait(60)

    def upload(number: int) -> tuple[str, float]:
        # Bytes behind a JPEG's end make it another image, and cost nothing.
        content = images[number % len(images)] + os.urandom(8)
        mine.connection.request("POST", "/v1/images", content, {"Authorization": f"Bearer {token}"})
        answer = mine.connection.getresponse()
        at, told = time.perf_counter(), answer.read()
        if answer.status != 201:
            raise RuntimeError(f"{door.netloc} answered {answer.status}: {told[:200]!r}")
        return json.loads(told)["id"], at

    with Arrivals(settings, settings.recognised_topic).reading() as arrivals, ThreadPoolExecutor(CONNECTIONS) as pool:
        for one in [pool.submit(connect) for _ in range(CONNECTIONS)]:
            one.result()
        began, sent = time.perf_counter(), []
        for number in range(IMAGES):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            sent.append(pool.submit(upload, number))
        acknowledged = dict(one.result() for one in sent)
        arrivals.wait(set(acknowledged))
    # The answer may be there before the door's own acknowledgement reached this process.
    return [max(0.0, arrivals.seen[id] - at) for id, at in acknowledged.items()]


def _relayed(settings: Settings, size: int) -> list[float]:
    """The same through a relay: seconds from the broker's acknowledgement to the relayed record."""
    acknowledged: dict[str, float] = {}
    with own_topics(settings, settings.topic_partitions) as own:
        relay = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            tell(relay, own)
            ready(relay)
            producer = Producer({**producer_config(own), "linger.ms": "0"})
            with Arrivals(own, own.recognised_topic).reading() as arrivals:
                began = time.perf_counter()
                for number in range(IMAGES):
                    while (left := began + number / RATE - time.perf_counter()) > 0:
                        producer.poll(left)
                    key = uuid.uuid4().hex
                    producer.produce(
                        own.topic,
                        os.urandom(size),
                        key,
                        on_delivery=lambda _, message: acknowledged.update({_key(message): time.perf_counter()}),
                    )
                producer.flush(30)
                arrivals.wait(set(acknowledged))
        finally:
            relay.kill()
            relay.wait()
    return [max(0.0, arrivals.seen[key] - at) for key, at in acknowledged.items()]


def _key(message: Any) -> str:
    key = message.key()
    return key if isinstance(key, str) else key.decode()


def _worked_off(home: Path, settings: Settings, count: int) -> tuple[float, float, float]:
    """Of so many instances: images a second, processor seconds an image, the highest peak of memory in MiB."""
    with own_topics(settings, count) as own, tempfile.TemporaryDirectory() as folder:
        records = sealed_records(own, photographs(40), BACKLOG + count)
        layout = Layout(home)
        trust = ssl.create_default_context(cafile=str(layout.ca))
        ports, began = [_free_port() for _ in range(count)], []
        environment = {
            **os.environ,
            "DARKROOM_TOPIC": own.topic,
            "DARKROOM_RECOGNISED_TOPIC": own.recognised_topic,
            "DARKROOM_DECODE_WORKERS": "1",
        }
        try:
            for port in ports:
                files = ("--certificate", str(layout.certificate("recogniser")), "--key", str(layout.key("recogniser")))
                command = [sys.executable, "-m", "services.recogniser", "--port", str(port), *files]
                with open(Path(folder, f"{port}.log"), "w") as log:
                    began.append(subprocess.Popen(command, env=environment, stderr=log))
            for port in ports:
                _until_ready(f"https://127.0.0.1:{port}", trust)
            producer = Producer({**producer_config(own), "linger.ms": "0"})
            with Arrivals(own, own.recognised_topic).reading() as arrivals:
                first, rest = records[:count], records[count:]
                _produce(producer, own.topic, first, count)
                arrivals.wait({id for id, _, _ in first})  # each has its partition, and its decoder is warm
                before, at = sum(map(_cpu, began)), time.perf_counter()
                _produce(producer, own.topic, rest, count)
                arrivals.wait({id for id, _, _ in rest})
                seconds, cpu = max(arrivals.seen.values()) - at, sum(map(_cpu, began)) - before
            peak = max(_peak(one.pid) for one in began)
        finally:
            for one in began:
                one.terminate()
            for one in began:
                one.wait(60)
    return len(rest) / seconds, cpu / len(rest), peak


def _produce(producer: Producer, topic: str, records: list[Any], partitions: int) -> None:
    for number, (id, headers, value) in enumerate(records):
        producer.produce(topic, value, id, partition=number % partitions, headers=headers)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError(f"topic {topic} did not acknowledge every record in 60 s")


def _cpu(process: subprocess.Popen[Any]) -> float:
    """Processor seconds of a process and its living children."""
    main = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in (main, *main.children(recursive=True)))


def _peak(pid: int) -> float:
    """Most memory that a process had resident, in MiB (Linux)."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99))
    return float(p50), float(p99)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
