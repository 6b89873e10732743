"""Landing again what bronze lost: records whose offsets landed, and whose rows are no longer there.

Why: a RESTORE of bronze, or a data file that was lost, takes rows and leaves the identifiers where they are, so that
landing never comes back to them. Mechanism: the offsets that bronze holds are compared with the range that landed, and
the broker is read from the first one missing; only missing records are written. No partition's identifier moves; a
counter of its own (`<topic>-reland`) lets one of two relandings at once be refused. Landing may go on meanwhile, for it
writes behind the identifiers and this before them.

Limits: what the broker no longer holds cannot be had. Developing is not repeated: it was past these offsets before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from resources.kafka import Admin, consumer_config
from resources.kafka_errors import ErrorMemory
from resources.landing_losses import known_topic_id, landed_offsets
from resources.landing_reader import Reader
from resources.topics import Topic, images_topic
from transforms.landing import Batch, ValueBuffer
from transforms.landing_protocol import TopicState
from transforms.tables import TableSpec

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from resources.lake import Lake
    from resources.settings import Settings

GROUP = "darkroom-reland"


@dataclass(frozen=True)
class Gap:
    """One partition: how many of its landed offsets have no row, the first and the last of them.

    `gone` of them lie before what the broker still holds. Offsets of transaction markers count too: only reading tells
    them from records.
    """

    partition: int
    offsets: int
    first: int
    last: int
    gone: int

    @property
    def sentence(self) -> str:
        """For a person."""
        gone = f"; {self.gone} of them are gone from the broker too" if self.gone else ""
        return f"partition {self.partition}: {self.offsets} offsets without a row, {self.first} to {self.last}{gone}"


@dataclass(frozen=True)
class Relanded:
    """What `reland` found, and how many records it wrote (none in a dry run)."""

    gaps: tuple[Gap, ...]
    records: int = 0
    commits: int = 0
    written: bool = False


@dataclass
class _Missing:
    """Takes only missing records into a batch; what `landing_reader.Reader` fills."""

    batch: Batch
    offsets: Mapping[int, np.ndarray]
    seen: int = field(default=0)

    @property
    def weight(self) -> int:
        """Bytes read so far, by which the reader sizes its chunks."""
        return self.batch.weight + self.seen

    def add(self, partition: int, records: Sequence[Any]) -> None:
        """Take those of the records that bronze lacks."""
        wanted = np.isin([record.offset() for record in records], self.offsets[partition])
        self.seen += sum(len(record.value() or b"") for record in records)
        chosen = [record for record, take in zip(records, wanted, strict=True) if take]
        if chosen:
            self.batch.add(partition, chosen)


def reland(
    settings: Settings,
    lake: Lake,
    topic: Topic | None = None,
    *,
    start: int,
    partition: int | None = None,
    who: str,
    why: str,
    dry_run: bool = True,
) -> Relanded:
    """Write the rows that bronze lacks among what landed from an offset on, as they stand in the topic.

    Args:
        topic: which one, and the table it lands in; the images when None.
        start: first offset to look at, of each partition.
        partition: only this one; all of them when None.
        who: the person who decides; kept in the table's history.
        why: their reason; kept likewise.
        dry_run: only say what is missing.

    Raises:
        TableMissing: there is no bronze.
        CommitConflict: another relanding was at work; look again.
        KafkaUnavailable: the broker does not answer; what was committed stands, and running again goes on there.
        ValueError: no such partition, a negative offset, or `who` or `why` is empty.
    """
    if start < 0:
        raise ValueError(f"Offsets begin at 0; --from {start} is none.")
    if not who.strip() or not why.strip():
        raise ValueError("Landing records again needs who decides it and why; both are kept in the table's history.")
    topic = topic or images_topic(settings)
    handle = lake.open(topic.table.name)
    state = Admin(settings).state(topic.name)
    if partition is not None and partition not in state.partitions:
        valid = ", ".join(map(str, sorted(state.partitions)))
        raise ValueError(f"Topic {state.topic} has no partition {partition}. Valid ones: {valid}.")
    missing = _missing(lake, handle, topic.table, state, start, partition)
    gaps = tuple(_gap(p, offsets, state.partitions[p][0]) for p, offsets in missing.items())
    readable = {p: offsets[offsets >= state.partitions[p][0]] for p, offsets in missing.items()}
    readable = {p: offsets for p, offsets in readable.items() if len(offsets)}
    if dry_run or not readable:
        return Relanded(gaps)
    info = {"darkroom": "reland", "who": who, "why": why, "gaps": "; ".join(gap.sentence for gap in gaps)}
    records, commits = _write(settings, lake, topic.table, handle, state, readable, info)
    return Relanded(gaps, records, commits, written=True)


def _missing(
    lake: Lake, handle: DeltaTable, spec: TableSpec, state: TopicState, start: int, partition: int | None
) -> dict[int, np.ndarray]:
    """Landed offsets from `start` on that have no row, by partition; those that have none missing are left out."""
    if known_topic_id(lake, handle, state.topic) != state.topic_id:
        return {}  # nothing of the topic as it is now has landed
    chosen = sorted(state.partitions) if partition is None else [partition]
    found: dict[int, np.ndarray] = {}
    for part, last in landed_offsets(lake, handle, state.topic, state.topic_id, chosen).items():
        of_partition = (pl.col("topic_id") == state.topic_id) & (pl.col("partition") == part)
        landed = pl.scan_delta(handle).filter(of_partition, pl.col("offset") >= start).select("offset")
        rows = lake.collect(landed, spec.name)
        lacking = np.setdiff1d(np.arange(start, last + 1, dtype=np.int64), rows["offset"].to_numpy())
        if len(lacking):
            found[part] = lacking
    return found


def _gap(partition: int, offsets: np.ndarray, low: int) -> Gap:
    return Gap(partition, len(offsets), int(offsets[0]), int(offsets[-1]), int((offsets < low).sum()))


def _write(
    settings: Settings,
    lake: Lake,
    spec: TableSpec,
    handle: DeltaTable,
    state: TopicState,
    missing: Mapping[int, np.ndarray],
    info: Mapping[str, str],
) -> tuple[int, int]:
    """Read and commit; returns records and commits."""
    from confluent_kafka import Consumer, TopicPartition

    counter = f"{state.topic}-reland"
    errors = ErrorMemory()
    consumer = Consumer({**consumer_config(settings, GROUP), "error_cb": errors})
    todo = {p: (int(offsets[0]), int(offsets[-1]) + 1) for p, offsets in missing.items()}
    records = commits = 0
    # Of the snapshot in which rows were found missing: another relanding since then may have written them.
    before = lake.identifier(handle, counter)

    def commit(batch: Batch) -> None:
        nonlocal records, commits, before
        rows = batch.table(state.topic, state.topic_id, settings.origin_cluster, datetime.now(UTC))
        following = (before or 0) + 1
        lake.append(handle, spec, rows, {counter: following}, info, after={counter: before})
        records, commits, before = records + len(batch), commits + 1, following

    try:
        consumer.assign([TopicPartition(state.topic, p, first) for p, (first, _) in todo.items()])
        reader = Reader(settings, consumer, errors, state, todo)
        taking = _Missing(Batch(ValueBuffer(settings.flush_bytes)), missing)
        opened = time.monotonic()
        while reader.pending:
            reader.read(taking)
            late = time.monotonic() - opened >= settings.flush_seconds
            if len(taking.batch) and (taking.batch.weight >= settings.flush_bytes or late):
                commit(taking.batch)
                taking = _Missing(Batch(ValueBuffer(settings.flush_bytes)), missing)
                opened = time.monotonic()
        if len(taking.batch):
            commit(taking.batch)
    finally:
        consumer.close()
    return records, commits
