"""The sub-second lane while it runs: one thread reads, some answer, one looks for new champions.

A record is done when the broker has acknowledged its answers, or when it is passed over by a reason; only then may its
offset be committed. Killed anywhere, the next instance answers again what was not committed: at least once, never not
at all. What is away (keys, decoding processes, the broker) is waited for by the records that need it; others go on.

Memory is bounded by `MOST_IMAGES`, `MOST_BYTES` and the client's queue, whatever waits at the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException

from resources.failures import PlatformFailure, TransientFailure, first_line
from resources.key_objects import KeyUnavailable
from resources.key_protocol import Keys
from resources.records import Record
from resources.settings import MEBIBYTE, Settings
from services.door.delivery import Deliverer, Delivery
from services.door.problems import Problem
from services.recogniser.answering import NAMED, Answer, Answering, Measurer
from services.recogniser.champions import Champions
from services.recogniser.consuming import Consuming
from services.recogniser.metrics import FAILED, Metrics
from services.recogniser.troubles import Troubles
from services.recogniser.under_way import Line, UnderWay
from transforms.envelope import day_of

log = logging.getLogger(__name__)

MOST_IMAGES = 64
MOST_BYTES = 32 * MEBIBYTE
THREADS_A_DECODER = 3
"""While one image is decoded, another is opened or scored and a third waits for its acknowledgement."""
MODELS_SECONDS = 60.0
"""Longest wait for MLflow's first answer; after it images are passed over, for the batch lane to name."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0
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
        now: the clock, with a zone.
        models_seconds: longest wait for the registry's first answer.
    """

    def __init__(
        self,
        settings: Settings,
        edges: Edges,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        models_seconds: float = MODELS_SECONDS,
    ) -> None:
        self._settings = settings
        self._edges = edges
        self._metrics = metrics
        self._now = now
        self._models_seconds = models_seconds
        self._answering = Answering(settings, edges.keys, edges.pool, edges.champions, now)
        self._under_way = UnderWay(MOST_IMAGES, MOST_BYTES)
        self._queue: SimpleQueue[tuple[Record, Line] | None] = SimpleQueue()
        self._troubles = Troubles()
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._no_models = f"MLflow at {settings.mlflow_url} has not said yet which models are champions."
        self._consuming: Consuming | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"answering-{number}", daemon=True)
            for number in range(THREADS_A_DECODER * settings.decode_workers)
        ]
        self._reader = threading.Thread(target=self._read, name="reading", daemon=True)
        metrics.show(lambda: self._under_way.images, lambda: self._under_way.bytes, self._behind)

    def start(self) -> None:
        """Start every thread; returns at once."""
        self._edges.champions.start()
        for thread in [*self._threads, self._reader]:
            thread.start()

    def close(self) -> None:
        """Leave the group, finish what is under way, let go of everything. Blocks for some `CLOSE_SECONDS`."""
        self._stop.set()
        self._edges.champions.close()
        # The reader drains and commits while it leaves.
        self._reader.join(CLOSE_SECONDS)
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(CLOSE_SECONDS / len(self._threads))
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
                    self._settings, self._under_way, self._hand_on, self._metrics, self._stop, self._edges.consumer
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

    def _hand_on(self, record: Record, line: Line) -> None:
        self._queue.put((record, line))

    def _work(self) -> None:
        while (taken := self._queue.get()) is not None:
            record, line = taken
            answered = False
            try:
                answered = not line.closed and self._handle(record)
            except Exception as error:
                # A bug of ours, or of a library that met a new kind of poison: it costs its own record, no other, and
                # the batch lane names the image.
                fields = {"error": type(error).__name__, "partition": record.partition, "offset": record.offset}
                log.exception("a record is passed over", extra={"fields": fields})
                self._metrics.records.labels(FAILED).inc()
                answered = True
            finally:
                self._under_way.end(record, line, answered=answered)

    def _handle(self, record: Record) -> bool:
        """Answer one record, however long it takes; False only where the end came first."""
        wait = FIRST_WAIT
        while True:
            try:
                outcome = self._answering.answer(record)
                break
            except TransientFailure as failure:
                if not self._again(_what(failure), first_line(failure), wait):
                    return False
                wait = min(2 * wait, LONGEST_WAIT)
        if not self._deliver(outcome.answers):
            return False
        self._metrics.records.labels(outcome.name).inc()
        if outcome.name == NAMED:
            self._metrics.seconds.observe(max(0.0, (self._now() - record.appended_at).total_seconds()))
        return True

    def _deliver(self, answers: Iterable[Answer]) -> bool:
        """Have the broker keep the answers; False only where the end came first."""
        left = list(answers)
        wait = FIRST_WAIT
        while left:
            try:
                futures = [self._edges.deliverer.submit(one.key, one.value, one.headers) for one in left]
                for future in futures:
                    self._acknowledged(future)
            except (Problem, FutureTimeout) as problem:
                why = (problem.log or problem.detail) if isinstance(problem, Problem) else "no acknowledgement in time"
                if not self._again("kafka", why, wait):
                    return False
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            for one in left:
                self._metrics.answers.labels(one.model).inc()
            left = []
        return True

    def _acknowledged(self, future: Future[Delivery]) -> None:
        # The producer fails it by itself before; this is for one that is stuck.
        future.result(2 * self._settings.kafka_timeout_seconds)

    def _again(self, what: str, why: str, seconds: float) -> bool:
        """Wait before another try, and say what for; False where the end came."""
        self._metrics.retries.labels(what).inc()
        return not self._rest(what, why, seconds)

    def _rest(self, what: str, why: str, seconds: float = LONGEST_WAIT) -> bool:
        with self._troubles.waiting(what, why):
            return self._stop.wait(seconds)

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
            self._edges.keys.erased_ids(day_of(self._now()))
        except KeyUnavailable as error:
            return str(error)
        return "ok"


def _what(failure: TransientFailure) -> str:
    return "keys" if isinstance(failure, KeyUnavailable) else "decoding"
