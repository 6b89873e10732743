"""The sub-second lane while it runs: one thread reads, some answer (`workers`), one looks for new champions.

A record is done when the broker has acknowledged its answers, or when it is passed over by a reason; only then may its
offset be committed. Killed anywhere, the next instance answers again what was not committed: at least once, never not
at all. What is away (keys, decoding processes, the broker) is waited for by the records that need it; others go on.

Memory is bounded by `MOST_IMAGES`, `MOST_BYTES` and the client's queue, whatever waits at the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException

from resources.failures import PlatformFailure, TransientFailure, first_line
from resources.key_objects import KeyUnavailable
from resources.key_protocol import Keys
from resources.settings import MEBIBYTE, Settings
from services.door.delivery import Deliverer
from services.door.problems import Problem
from services.recogniser.answering import Answering, Measurer
from services.recogniser.champions import Champions
from services.recogniser.consuming import Consuming
from services.recogniser.metrics import Metrics
from services.recogniser.troubles import Troubles
from services.recogniser.under_way import UnderWay
from services.recogniser.workers import LONGEST_WAIT, Workers
from transforms.envelope import day_of

log = logging.getLogger(__name__)

MOST_IMAGES = 64
MOST_BYTES = 32 * MEBIBYTE
THREADS_A_DECODER = 3
"""While one image is decoded, another is opened or scored and a third waits for its acknowledgement."""
MODELS_SECONDS = 60.0
"""Longest wait for MLflow's first answer; after it images are passed over, for the batch lane to name."""
KAFKA_SECONDS = 3.0
CLOSE_SECONDS = 10.0


class Pool(Measurer, Protocol):
    """Where images are decoded."""

    def close(self) -> None:
        """End its processes."""
        ...


@dataclass(frozen=True)
class Edges:
    """Everything outside the lane, each by its Protocol."""

    keys: Keys
    deliverer: Deliverer
    pool: Pool
    champions: Champions
    consumer: Callable[[dict[str, Any]], Consumer] = Consumer


class Recogniser:
    """The lane's parts. Nothing runs before `start`.

    Args:
        settings: of this process.
        edges: what is outside.
        metrics: what is counted.
        models_seconds: longest wait for the registry's first answer.
    """

    def __init__(
        self,
        settings: Settings,
        edges: Edges,
        metrics: Metrics,
        models_seconds: float = MODELS_SECONDS,
    ) -> None:
        self._settings = settings
        self._edges = edges
        self._metrics = metrics
        self._models_seconds = models_seconds
        self._under_way = UnderWay(MOST_IMAGES, MOST_BYTES)
        self._troubles = Troubles()
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._no_models = f"MLflow at {settings.mlflow_url} has not said yet which models are champions."
        self._consuming: Consuming | None = None
        self._workers = Workers(
            THREADS_A_DECODER * settings.decode_workers,
            Answering(settings, edges.keys, edges.pool, edges.champions, lambda: datetime.now(UTC)),
            edges.deliverer,
            self._under_way,
            metrics,
            self._troubles,
            self._stop,
            2 * settings.kafka_timeout_seconds,
        )
        self._reader = threading.Thread(target=self._read, name="reading", daemon=True)
        metrics.show(lambda: self._under_way.images, lambda: self._under_way.bytes, self._behind)

    def start(self) -> None:
        """Start every thread; returns at once."""
        self._edges.champions.start()
        self._workers.start()
        self._reader.start()

    def close(self) -> None:
        """Leave the group, finish what is under way, let go of everything. Blocks for some `CLOSE_SECONDS`."""
        self._stop.set()
        self._edges.champions.close()
        # The reader drains and commits while it leaves.
        self._reader.join(CLOSE_SECONDS)
        self._workers.end(CLOSE_SECONDS)
        self._edges.deliverer.close(CLOSE_SECONDS)
        self._edges.pool.close()

    def checks(self) -> dict[str, str]:
        """By what is needed to answer: `ok`, or a sentence. Asks Kafka and the key store."""
        troubles = self._troubles
        return {
            "kafka": self._kafka(),
            "keys": self._keys(),
            "decoding": troubles.told("decoding"),
            "models": "ok" if self._begun.is_set() else self._no_models,
        }

    def champions(self) -> dict[str, str]:
        """By family `ok`, or what is wrong with its champion; such an instance works with what it has."""
        return self._edges.champions.told()

    def versions(self) -> dict[str, str]:
        """By family the version that scores."""
        return self._edges.champions.versions()

    def joined(self) -> bool:
        """Whether the group has given this instance its share of the partitions."""
        consuming = self._consuming
        return consuming is not None and consuming.joined.is_set()

    def _read(self) -> None:
        self._warm()
        self._await_models()
        self._begun.set()
        while not self._stop.is_set():
            try:
                self._consuming = Consuming(
                    self._settings,
                    self._under_way,
                    self._workers.hand_on,
                    self._metrics,
                    self._stop,
                    self._edges.consumer,
                )
                self._consuming.run()
            except (PlatformFailure, KafkaException) as error:
                self._rest("kafka", first_line(error))
            except Exception as error:
                # Nobody else reads: whatever it was, it is said, and another membership is tried.
                log.exception("reading failed")
                self._rest("kafka", f"Reading failed with {type(error).__name__}; see the log.")
            finally:
                self._consuming = None

    def _warm(self) -> None:
        """Have decoding processes started before the first image waits for them."""
        while not self._stop.is_set():
            try:
                self._edges.pool.features(b"no image")
                return
            except TransientFailure as failure:
                self._rest("decoding", first_line(failure))

    def _await_models(self) -> None:
        deadline = time.monotonic() + self._models_seconds
        champions = self._edges.champions
        if champions.wait_settled(0):
            return
        with self._troubles.waiting("models", self._no_models):
            settled = champions.wait_settled(max(0.0, deadline - time.monotonic()))
        if not settled:
            log.warning(
                "MLflow does not answer; images are passed over until it does, and the batch lane names them",
                extra={"fields": {"seconds": self._models_seconds}},
            )

    def _rest(self, what: str, why: str) -> None:
        with self._troubles.waiting(what, why):
            self._stop.wait(LONGEST_WAIT)

    def _behind(self) -> float:
        consuming = self._consuming
        return float(consuming.behind) if consuming is not None else 0.0

    def _kafka(self) -> str:
        if (told := self._troubles.told("kafka")) != "ok":
            return told
        try:
            self._edges.deliverer.check(KAFKA_SECONDS)
        except Problem as problem:
            return f"no broker that knows topic {self._settings.recognised_topic} answered" + (
                f": {problem.log}" if problem.log else ""
            )
        return "ok"

    def _keys(self) -> str:
        if (told := self._troubles.told("keys")) != "ok":
            return told
        try:
            self._edges.keys.platform_secret()
            self._edges.keys.erased_ids(day_of(datetime.now(UTC)))
        except KeyUnavailable as error:
            return str(error)
        return "ok"
