"""The reading half of landing: partitions up to their ends, in chunks, without committing anything.

It rests on librdkafka's end-of-partition events, for an end may lie behind transaction markers that are never
delivered; a partition is done when its last offset came or its end was reported. A position that the broker no longer
holds is reported as `TopicChanged`, and the plan is made again from what the broker then says.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from resources.failures import TransientFailure
from resources.kafka_errors import ErrorMemory, KafkaUnavailable, failure, passes
from resources.settings import Settings
from transforms.landing_protocol import TopicState

if TYPE_CHECKING:
    from confluent_kafka import Consumer

# How long the last few records of a run are waited for together; the client waits for a whole chunk.
_POLL_SECONDS = 0.02
# Small enough that messages die in the memory, and the cache, from which the next ones are made: with 1,000 records of
# 1 kB a chunk, taking them from the client cost 2.5 us each in place of 0.7.
_CHUNK_BYTES = 1024 * 1024
_MOST_MESSAGES = 300


class TopicChanged(TransientFailure):
    """The topic is no longer what it was when landing began: the plan has to be made again."""


class Taking(Protocol):
    """What records are read into; `transforms.landing.Batch` is one."""

    @property
    def weight(self) -> int:
        """Bytes taken so far."""
        ...

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Take records of one partition, offsets rising."""
        ...


class Reader:
    """Reads partitions up to their ends, in chunks, and says what stands in the way."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        errors: ErrorMemory,
        state: TopicState,
        todo: Mapping[int, tuple[int, int]],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._errors = errors
        self._state = state
        self._ends = {p: end for p, (_, end) in todo.items()}
        self.pending = set(todo)
        """Partitions that have not come to their end."""
        self._chunk = 10
        # Seconds of waiting without an answer; the time that a slow disk takes between two reads is none of them.
        self._silent = 0.0

    def read(self, batch: Taking) -> None:
        """Add the next chunk to the batch."""
        asked = time.monotonic()
        messages = self._consumer.consume(self._chunk, _POLL_SECONDS)
        if not messages:
            self._silent += time.monotonic() - asked
            self._check_silence()
            return
        self._silent = 0.0
        kind = type(messages[0])
        # By identity: comparing a KafkaError with None raises.
        if any(fault is not None for fault in map(kind.error, messages)):
            for message in messages:
                if (fault := message.error()) is not None:
                    self._fault(message, fault)
            messages = [message for message in messages if message.error() is None]
            if not messages:
                return
        before = batch.weight
        for partition, run in _runs(messages):
            self._take(batch, partition, run)
        mean = (batch.weight - before) / len(messages)
        self._chunk = max(1, min(_MOST_MESSAGES, int(_CHUNK_BYTES / max(mean, 1.0))))

    def _take(self, batch: Taking, partition: int, run: list[Any]) -> None:
        end = self._ends[partition]
        if run[-1].offset() >= end:
            run = run[: bisect.bisect_left(run, end, key=_offset)]
        if run:
            batch.add(partition, run)
        if not run or run[-1].offset() >= end - 1:
            self._done(partition)

    def _done(self, partition: int) -> None:
        from confluent_kafka import TopicPartition

        if partition in self.pending:
            self.pending.discard(partition)
            if self.pending:
                self._consumer.pause([TopicPartition(self._state.topic, partition)])

    def _fault(self, message: Any, fault: Any) -> None:
        from confluent_kafka import KafkaError

        code = fault.code()
        if code == KafkaError._PARTITION_EOF:
            # The end that was asked for may lie behind transaction markers, which are never delivered.
            self._done(message.partition())
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_ID):
            raise TopicChanged(f"{self._state.topic}-{message.partition()}: {fault.str()}")
        elif not passes(fault):
            raise failure(
                self._settings,
                fault,
                f"for records of {self._state.topic}-{message.partition()}",
                self._errors.last,
                self._state.topic,
            )

    def _check_silence(self) -> None:
        if self._silent <= self._settings.kafka_timeout_seconds:
            return
        waiting = ", ".join(f"{self._state.topic}-{p}" for p in sorted(self.pending))
        cause = f" Last error of the client: {self._errors.last}." if self._errors.last else ""
        raise KafkaUnavailable(
            f"Kafka at {self._settings.kafka_bootstrap} sent nothing of {waiting} for "
            f"{self._settings.kafka_timeout_seconds:g} s.{cause} Is the broker up (`darkroom status`)? What has landed "
            "stands, and the next run goes on there.",
            {"bootstrap": self._settings.kafka_bootstrap, "topic": self._state.topic},
        )


def _offset(message: Any) -> int:
    return message.offset()


def _runs(messages: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Messages by partition; within one they come in order of offset."""
    partitions = list(map(type(messages[0]).partition, messages))
    at = 0
    while at < len(messages):
        partition = partitions[at]
        end = at + 1
        while end < len(messages) and partitions[end] == partition:
            end += 1
        yield partition, messages[at:end]
        at = end
