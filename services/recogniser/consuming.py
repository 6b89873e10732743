"""Reads the images' topic in one consumer group, hands records over, and commits what was answered.

One group, cooperative-sticky: partitions that stay where they are go on being read while others move. Not Kafka's newer
protocol (KIP-848), which leaves it to the broker how long a killed member keeps its partitions: 45 seconds, and no less
unless the broker is configured anew; here it is six. A group that is new begins at the oldest record.

Nothing is read that there is no room for. Short of room the client's own small queue fills and it stops fetching; when
that lasts for `ROOM_SECONDS`, partitions are paused, so that the group goes on being answered whatever is waited for.

Only the thread that reads touches the consumer: a second one would wait inside confluent-kafka for the first one's poll
with Python's lock in its hand, and the poll for that lock, for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from resources.failures import TransientFailure
from resources.kafka import Admin, consumer_config
from resources.kafka_errors import ErrorMemory, failure
from resources.records import Record
from resources.settings import Settings
from services.recogniser.metrics import FAILED, Metrics
from services.recogniser.taking import Arrived, record_of
from services.recogniser.under_way import Line, UnderWay

log = logging.getLogger(__name__)
client_log = logging.getLogger("services.recogniser.librdkafka")

ROOM_SECONDS = 0.5
POLL_SECONDS = 0.1
COMMIT_SECONDS = 0.5
DRAIN_SECONDS = 2.0
QUEUE_KIBIBYTES = 16 * 1024

Take = Callable[[Record, Line], None]


class TopicMadeAnew(TransientFailure):
    """Offsets went back: the topic is another one, and everything about it is asked anew."""


def group_of(settings: Settings) -> str:
    """The consumer group: one a topic of images."""
    return f"recogniser-{settings.topic}"


def group_config(settings: Settings) -> dict[str, str]:
    """librdkafka properties of a member of the group."""
    group = group_of(settings)
    return {
        **consumer_config(settings, group),
        "partition.assignment.strategy": "cooperative-sticky",
        # The broker's least; a killed instance's partitions move after it.
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "1500",
        # What is not there any more was answered by nobody; the batch lane names what bronze holds of it.
        "auto.offset.reset": "earliest",
        "enable.partition.eof": "false",
        # Small: a backlog waits at the broker and not here.
        "queued.max.messages.kbytes": str(QUEUE_KIBIBYTES),
        **settings.kafka_extra,
    }


class Consuming:
    """One membership in the group, from subscribing to leaving.

    Args:
        settings: which topic, and how to reach the broker.
        under_way: what is being answered; records are taken in here and ended by others.
        take: hands a record on; must not block.
        metrics: told of rebalances and pauses.
        stop: leave when it is set.
        make: makes a consumer of properties; another one in tests.
    """

    def __init__(
        self,
        settings: Settings,
        under_way: UnderWay,
        take: Take,
        metrics: Metrics,
        stop: Event,
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._settings = settings
        self._under_way = under_way
        self._take = take
        self._metrics = metrics
        self._stop = stop
        self._errors = ErrorMemory()
        self._consumer = make(
            {**group_config(settings), "error_cb": self._errors, "on_commit": self._told, "logger": client_log}
        )
        self._topic_id: str | None = None
        self._committed: dict[int, int] = {}
        self._commit_at = 0.0
        self._paused = False
        self.behind = 0
        """Records of the assigned partitions that the broker holds beyond what was read, as last looked at."""
        self.joined = Event()
        """Set once the group gave this member its share, be it nothing."""

    def run(self) -> None:
        """Read until told to stop.

        Raises:
            PlatformFailure, KafkaException: the broker refuses, or is not what it was; a new membership may do better.
        """
        consumer = self._consumer
        try:
            consumer.subscribe(
                [self._settings.topic],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            while not self._stop.is_set():
                self._commit()
                if not self._room():
                    self._pause()
                elif self._paused:
                    consumer.resume(consumer.assignment())
                    self._paused = False
                message = consumer.poll(0.0 if self._paused else POLL_SECONDS)
                if message is not None:
                    self._message(message)
        finally:
            self._leave()

    def _look_ahead(self) -> int:
        found = 0
        for at in self._consumer.position(self._consumer.assignment()):
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            found += max(0, high - at.offset) if at.offset >= 0 and high >= 0 else 0
        return found

    def _message(self, message: Message) -> None:
        if (error := message.error()) is not None:
            self._fault(error)
            return
        arrived = cast("Arrived", message)
        partition, offset = arrived.partition(), arrived.offset()
        line = self._under_way.line(partition)
        if line is None or line.closed:
            return  # taken away meanwhile: whoever has it now reads it
        if offset <= line.last:
            raise TopicMadeAnew(f"{self._settings.topic}-{partition} gave offset {offset} after {line.last}.")
        if self._topic_id is None:
            self._topic_id = Admin(self._settings).topic_id(self._settings.topic)
        try:
            record = record_of(arrived, self._topic_id)
        except Exception as error:
            # A new kind of poison; read again and again it would stop the partition.
            fields = {"error": type(error).__name__, "partition": partition, "offset": offset}
            log.error("a record is passed over", extra={"fields": fields})
            self._metrics.records.labels(FAILED).inc()
            self._under_way.pass_over(line, offset)
            return
        self._under_way.take(record, line)
        self._take(record, line)

    def _fault(self, error: KafkaError) -> None:
        if error.code() == KafkaError._MAX_POLL_EXCEEDED or error.retriable():
            log.warning("kafka", extra={"fields": {"why": error.str()}})
            return
        raise failure(
            self._settings, error, f"for records of {self._settings.topic}", self._errors.last, self._settings.topic
        )

    def _room(self) -> bool:
        return self._under_way.wait_room(ROOM_SECONDS, 0.5 if self._paused else 1.0)

    def _pause(self) -> None:
        # Each time, not only the first: partitions that came meanwhile are not paused.
        self._consumer.pause(self._consumer.assignment())
        if not self._paused:
            self._metrics.pauses.inc()
        self._paused = True

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._topic_id = None
        self._under_way.begin(at.partition for at in partitions)
        self._metrics.rebalances.labels("assigned").inc(len(partitions))
        log.info("partitions assigned", extra={"fields": {"partitions": sorted(at.partition for at in partitions)}})
        self.joined.set()

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [at.partition for at in partitions]
        self._under_way.close(numbers)
        self._put(self._under_way.drain(numbers, DRAIN_SECONDS), asynchronous=False)
        self._gone("revoked", numbers)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [at.partition for at in partitions]
        self._under_way.close(numbers)
        self._under_way.drain(numbers, 0.0)
        self._gone("lost", numbers)

    def _gone(self, way: str, partitions: list[int]) -> None:
        for partition in partitions:
            self._committed.pop(partition, None)
        self._metrics.rebalances.labels(way).inc(len(partitions))
        log.info("partitions gone", extra={"fields": {"partitions": sorted(partitions), "way": way}})

    def _commit(self) -> None:
        if time.monotonic() < self._commit_at:
            return
        self._commit_at = time.monotonic() + COMMIT_SECONDS
        self._put(self._under_way.committable(), asynchronous=True)
        self.behind = self._look_ahead()

    def _put(self, offsets: Mapping[int, int], *, asynchronous: bool) -> None:
        new = {p: offset for p, offset in offsets.items() if self._committed.get(p) != offset}
        if not new:
            return
        wanted = [TopicPartition(self._settings.topic, p, offset) for p, offset in new.items()]
        try:
            if asynchronous:
                self._consumer.commit(offsets=wanted, asynchronous=True)
            else:
                self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            # What is not committed is answered once more; the answers are the same.
            log.warning("offsets not committed", extra={"fields": {"why": error.args[0].str()}})
            return
        self._committed.update(new)

    def _told(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """What became of a commit: one that failed is made again with the next."""
        for at in partitions:
            if (error or at.error) is not None and self._committed.get(at.partition) == at.offset:
                del self._committed[at.partition]

    def _leave(self) -> None:
        try:
            # Partitions are revoked in here, and what was answered is committed.
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("the group was not left in order", extra={"fields": {"why": str(error)}})
        self._under_way.forget()
