"""Landing: the stream into bronze, each record once.

A run reads what the broker holds at its start (up to the readable end of each partition, seen once), and stops. Its
positions are the identifiers in the table's own commits, read from the handle that commits: two landings at once, or
one that slept while another went on, end in a refused commit and never in a doubled row. See docs/landing-protocol.md.

Reading and writing overlap: this thread fills a batch while another writes the one before. Memory is two batches of
`flush_bytes`, the client's queue of 64 MiB, and one record.

Limits: with a transaction open on the topic, a run ends at the last stable offset. Offsets committed to Kafka are a
hint for lag displays and are never read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deltalake import DeltaTable

from resources.kafka import Admin, consumer_config
from resources.kafka_errors import ErrorMemory, KafkaUnavailable
from resources.lake import CommitConflict, Lake
from resources.landing_losses import LandingStopped, planned
from resources.landing_reader import Reader, TopicChanged
from resources.landing_writer import BatchWriter, Landed
from resources.settings import Settings
from resources.topics import Topic, images_topic
from transforms.landing_protocol import TopicState, generation_of

if TYPE_CHECKING:
    from confluent_kafka import Consumer

GROUP = "darkroom-lander"
"""Consumer group of the hint that is committed to Kafka."""

_ATTEMPTS = 8
_logger = logging.getLogger("darkroom.landing")


@dataclass(frozen=True)
class PartitionResult:
    """One partition of a run: first offset asked for, last offset landed (None: nothing), end when the run began."""

    start: int
    last: int | None
    end: int


@dataclass(frozen=True)
class LandingResult:
    """What a run landed."""

    topic: str
    topic_id: str
    records: int
    bytes: int
    commits: int
    seconds: float
    partitions: Mapping[int, PartitionResult]


class Lander:
    """Lands one topic. Make one per process; it holds no connection between runs.

    Args:
        settings: which broker, topic and sizes.
        lake: where to.
        topic: which topic, and the table it lands in; the images when None.
        group: consumer group of the hint to Kafka.
        now: the clock for `landed_at`.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        topic: Topic | None = None,
        *,
        group: str = GROUP,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._topic = topic or images_topic(settings)
        self._group = group
        self._now = now

    def land(self, progress: Callable[[int, int], None] | None = None) -> LandingResult:
        """Land every record that is readable now, and return.

        Args:
            progress: called with (records, bytes) landed so far, after each commit.

        Raises:
            LandingStopped: records were lost; a person has to accept that.
            KafkaUnavailable: the broker does not answer; what was read before it went stands.
            LakeFull: no room; the commits before stand, and the next run goes on there.
            CommitConflict: other landers won eight times in a row.
        """
        started = time.monotonic()
        topic = self._topic.name
        landed = Landed(progress)
        ends: dict[int, int] | None = None
        begins: dict[int, int] = {}
        broker = Admin(self._settings)
        with self._consumer() as (consumer, errors):
            for attempt in range(_ATTEMPTS):
                handle = self._lake.ensure(self._topic.table)
                # After the handle: what has landed by now is behind the end that the broker reports.
                state = broker.state(topic)
                if ends is None:
                    ends = {p: high for p, (_, high) in state.partitions.items()}
                try:
                    starts = self._starts(handle, state)
                    for p, start in starts.items():
                        begins.setdefault(p, start)
                    todo = {p: (start, ends[p]) for p, start in starts.items() if start < ends.get(p, start)}
                    if todo:
                        self._run(consumer, errors, broker, handle, state, todo, landed)
                except (CommitConflict, TopicChanged) as conflict:
                    _logger.info("Attempt %d to land %s: %s", attempt + 1, topic, conflict)
                    time.sleep(0.05 * attempt)
                    continue
                return LandingResult(
                    topic=topic,
                    topic_id=state.topic_id,
                    records=landed.records,
                    bytes=landed.bytes,
                    commits=landed.commits,
                    seconds=time.monotonic() - started,
                    partitions={
                        p: PartitionResult(begins[p], landed.last.get(p), ends.get(p, begins[p]))
                        for p in sorted(begins)
                    },
                )
        raise CommitConflict(
            f"Landing of topic {topic}: other writers of {self._topic.table.name} committed first {_ATTEMPTS} times "
            "in a row. What they landed stands. Run again; is more than one lander at work?",
            {"topic": topic, "attempts": _ATTEMPTS},
        )

    def _starts(self, handle: DeltaTable, state: TopicState) -> Mapping[int, int]:
        decided = planned(self._lake, handle, state)
        if decided.losses:
            raise LandingStopped(state.topic, decided.losses)
        if decided.register:
            info = {"darkroom": f"first landing of topic {state.topic}", "topic_id": state.topic_id}
            generation = generation_of(state.topic, state.topic_id)
            counters = {app_id: v for app_id, v in decided.register.items() if app_id not in generation}
            self._lake.append(handle, self._topic.table, None, counters, info, marks=generation)
        return decided.starts

    def _run(
        self,
        consumer: Consumer,
        errors: ErrorMemory,
        broker: Admin,
        handle: DeltaTable,
        state: TopicState,
        todo: Mapping[int, tuple[int, int]],
        landed: Landed,
    ) -> None:
        """Read `todo` (partition to first offset and end) and hand it to the writer, batch by batch."""
        from confluent_kafka import TopicPartition

        places = [TopicPartition(state.topic, p, start) for p, (start, _) in todo.items()]
        consumer.assign(places)
        # A partition that was paused at its end in an attempt before stays so, through another assignment too.
        consumer.resume(places)
        reader = Reader(self._settings, consumer, errors, state, todo)
        with BatchWriter(
            self._settings, self._lake, self._topic.table, handle, state, broker, consumer, landed, self._now
        ) as writer:
            batch = writer.empty()
            opened = time.monotonic()
            try:
                while reader.pending:
                    reader.read(batch)
                    if not len(batch):
                        opened = time.monotonic()
                    elif (
                        batch.weight >= self._settings.flush_bytes
                        or time.monotonic() - opened >= self._settings.flush_seconds
                    ):
                        writer.put(batch)
                        batch = writer.empty()
                        opened = time.monotonic()
            except KafkaUnavailable:
                # What was read before the broker went is good, and need not be read again.
                writer.put(batch)
                writer.finish()
                raise
            writer.put(batch)
            writer.finish()
        consumer.unassign()

    @contextmanager
    def _consumer(self) -> Iterator[tuple[Consumer, ErrorMemory]]:
        from confluent_kafka import Consumer

        errors = ErrorMemory()
        config: dict[str, Any] = {**consumer_config(self._settings, self._group), "error_cb": errors}
        consumer = Consumer(config, logger=logging.getLogger("darkroom.kafka"))
        try:
            yield consumer, errors
        finally:
            consumer.close()
