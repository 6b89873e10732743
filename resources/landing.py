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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deltalake import DeltaTable

from resources.failures import PermanentFailure
from resources.kafka import Admin, admin, consumer_config
from resources.kafka_errors import ErrorMemory, KafkaUnavailable
from resources.lake import CommitConflict, Lake
from resources.landing_reader import Reader, TopicChanged
from resources.landing_writer import BatchWriter, Landed
from resources.settings import Settings
from resources.topics import Topic, images_topic
from transforms.landing_protocol import (
    Loss,
    LossKind,
    Plan,
    TopicState,
    accepted,
    generation_app_ids,
    generation_of,
    partition_app_id,
    plan,
    topic_id_of,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer

GROUP = "darkroom-lander"
"""Consumer group of the hint that is committed to Kafka."""

_ATTEMPTS = 8
_logger = logging.getLogger("darkroom.landing")


class LandingStopped(PermanentFailure):
    """Records are gone that never landed, or the broker lost its tail. Nothing is landed until a person decides."""

    def __init__(self, topic: str, losses: Sequence[Loss]) -> None:
        self.topic = topic
        self.losses = tuple(losses)
        truncated = any(loss.kind is LossKind.TRUNCATED for loss in losses)
        todo = (
            "A truncated log gives landed offsets to other records, so it cannot be gone on with: delete the topic, "
            f"make it anew (`darkroom up`), then `darkroom accept-loss --topic {topic}`."
            if truncated
            else f"`darkroom accept-loss --topic {topic}` shows what would be given up, "
            "and with --yes goes on behind it."
        )
        lines = "\n".join(f"  {loss.sentence}" for loss in losses)
        first = losses[0]
        super().__init__(
            f"Landing of topic {topic} stopped at a loss in {len(losses)} partition(s); nothing was landed past it:\n"
            f"{lines}\n{todo}",
            {
                "topic": topic,
                "kind": first.kind.value,
                "partition": first.partition,
                "first_offset": first.first,
                "last_offset": "unknown" if first.last is None else first.last,
                "old_topic_id": first.old_topic_id,
                "new_topic_id": first.new_topic_id,
            },
        )


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


@dataclass(frozen=True)
class AcceptedLoss:
    """What `accept_loss` found, and whether it was written."""

    losses: tuple[Loss, ...]
    identifiers: Mapping[str, int]
    written: bool

    @property
    def description(self) -> str:
        """For a person: each loss in a sentence, and where landing goes on."""
        if not self.losses:
            return "No loss: landing goes on by itself. Nothing was written."
        lines = [loss.sentence for loss in self.losses]
        verb = "Landing now goes on" if self.written else "Nothing was written. With --yes landing goes on"
        places = ", ".join(f"{app_id} after {version}" for app_id, version in self.identifiers.items())
        return "\n".join([*lines, f"{verb} behind it ({places})."])


def known_topic_id(lake: Lake, handle: DeltaTable, topic: str) -> str | None:
    """The topic id that the table has landed; None for a table that never landed this topic."""
    high, low = generation_app_ids(topic)
    return topic_id_of(lake.identifier(handle, high), lake.identifier(handle, low))


def landed_offsets(
    lake: Lake, handle: DeltaTable, topic: str, topic_id: str, partitions: Sequence[int]
) -> dict[int, int]:
    """Last offset landed by partition; a partition that never landed is not in it."""
    found = {p: lake.identifier(handle, partition_app_id(topic, p, topic_id)) for p in partitions}
    return {p: offset for p, offset in found.items() if offset is not None}


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
        with admin(self._settings) as broker, self._consumer() as (consumer, errors):
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
        decided = _plan(self._lake, handle, state)
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


def _plan(lake: Lake, handle: DeltaTable, state: TopicState) -> Plan:
    known = known_topic_id(lake, handle, state.topic)
    landed = landed_offsets(lake, handle, state.topic, state.topic_id, list(state.partitions))
    of_known = landed_offsets(lake, handle, state.topic, known, list(state.partitions)) if known else {}
    return plan(state, known, landed, of_known)


def accept_loss(
    settings: Settings, lake: Lake, topic: Topic | None = None, *, who: str, why: str, dry_run: bool = True
) -> AcceptedLoss:
    """Go on behind lost records: a commit of identifiers alone, which says who gave up what and why.

    Args:
        topic: whose loss; the images' when None.
        who: the person who decides; kept in the table's history.
        why: their reason; kept likewise.
        dry_run: only say what would be given up.

    Raises:
        LandingStopped: the log was truncated, which nobody can accept away.
        CommitConflict: a lander committed meanwhile; look again.
        ValueError: `who` or `why` is empty.
    """
    if not who.strip() or not why.strip():
        raise ValueError("Accepting a loss needs who decides it and why; both are kept in the table's history.")
    topic = topic or images_topic(settings)
    handle = lake.open(topic.table.name)
    with admin(settings) as broker:
        state = broker.state(topic.name)
    losses = _plan(lake, handle, state).losses
    if not losses:
        return AcceptedLoss((), {}, written=False)
    if any(loss.kind is LossKind.TRUNCATED for loss in losses):
        raise LandingStopped(topic.name, losses)
    identifiers = accepted(state, losses)
    if not dry_run:
        generation = generation_of(state.topic, state.topic_id)
        counters = {app_id: v for app_id, v in identifiers.items() if app_id not in generation}
        marks = {app_id: v for app_id, v in identifiers.items() if app_id in generation}
        info = {
            "darkroom": "accept-loss",
            "who": who,
            "why": why,
            "losses": "; ".join(loss.sentence for loss in losses),
        }
        lake.append(handle, topic.table, None, counters, info, marks=marks)
        _logger.warning("Loss accepted by %s (%s): %s", who, why, info["losses"])
    return AcceptedLoss(losses, identifiers, written=not dry_run)
