"""The threads that answer: each takes a record, has the broker keep its answers, and takes the next.

What is away (keys, decoding processes, the broker) is waited for by the record that needs it, however long it takes;
the other threads go on. What nobody foresaw costs its own record and no other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from queue import SimpleQueue

from resources.failures import TransientFailure, first_line
from resources.key_objects import KeyUnavailable
from resources.records import Record
from services.door.delivery import Deliverer
from services.door.problems import Problem
from services.recogniser.answering import NAMED, Answer, Answering
from services.recogniser.metrics import FAILED, Metrics
from services.recogniser.troubles import Troubles
from services.recogniser.under_way import Line, UnderWay

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0


class Workers:
    """Threads that answer what is handed on. Nothing runs before `start`.

    Args:
        number: of threads.
        answering: makes the answers.
        deliverer: takes them to the broker.
        under_way: is told which records are done.
        metrics: what is counted.
        troubles: what is waited for.
        stop: set when waiting is to end.
        acknowledge_seconds: longest wait for the broker's acknowledgement.
    """

    def __init__(
        self,
        number: int,
        answering: Answering,
        deliverer: Deliverer,
        under_way: UnderWay,
        metrics: Metrics,
        troubles: Troubles,
        stop: threading.Event,
        acknowledge_seconds: float,
    ) -> None:
        self._answering = answering
        self._deliverer = deliverer
        self._under_way = under_way
        self._metrics = metrics
        self._troubles = troubles
        self._stop = stop
        self._acknowledge_seconds = acknowledge_seconds
        self._queue: SimpleQueue[tuple[Record, Line] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"answering-{each}", daemon=True) for each in range(number)
        ]

    def start(self) -> None:
        """Start the threads; returns at once."""
        for thread in self._threads:
            thread.start()

    def end(self, seconds: float) -> None:
        """Have each thread end after what it has under way. Blocks for some `seconds`."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(seconds / len(self._threads))

    def hand_on(self, record: Record, line: Line) -> None:
        """Give a record to the next thread that is free."""
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
            self._metrics.seconds.observe(max(0.0, (datetime.now(UTC) - record.appended_at).total_seconds()))
        return True

    def _deliver(self, answers: Iterable[Answer]) -> bool:
        """Have the broker keep the answers; False only where the end came first."""
        left = list(answers)
        wait = FIRST_WAIT
        while left:
            try:
                futures = [self._deliverer.submit(one.key, one.value, one.headers) for one in left]
                for future in futures:
                    # The producer fails it by itself before; this is for one that is stuck.
                    future.result(self._acknowledge_seconds)
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

    def _again(self, what: str, why: str, seconds: float) -> bool:
        """Wait before another try, and say what for; False where the end came."""
        self._metrics.retries.labels(what).inc()
        with self._troubles.waiting(what, why):
            return not self._stop.wait(seconds)


def _what(failure: TransientFailure) -> str:
    return "keys" if isinstance(failure, KeyUnavailable) else "decoding"
