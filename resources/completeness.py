"""Proves that bronze holds exactly what the broker holds, by position and not by counting.

Counting cannot tell: transaction markers and aborted records leave legal holes in Kafka's log. Offsets can. Where
bronze has every offset of a range, nothing can be missing. Where offsets are missing, the broker is asked for the
first record from there on: if it lies behind the hole, the hole is legal; if it lies inside, bronze lacks it. So a
range costs a few integers, and one small read a hole. What bronze does hold is compared, for a few offsets, byte by
byte: SHA-256 of the broker's value, key and headers.

Limits: offsets that the broker no longer holds cannot be judged, and are counted as such. A sample is a sample. So many
holes are judged at once; `verified` ends before the first of the others, which are for the next comparison.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from resources.failures import TransientFailure
from resources.kafka import consumer_config
from resources.kafka_errors import ErrorMemory, failure
from resources.settings import Settings
from transforms.landing import repaired_headers
from transforms.landing_protocol import TopicState, partition_app_id
from transforms.retention import erased_rows
from transforms.tables import RAW_IMAGES

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from resources.lake import Lake

SAMPLES = 6
MOST_HOLES = 500
GROUP = "darkroom-completeness"


@dataclass(frozen=True)
class Range:
    """Offsets of one partition, `first` to `end` (not included)."""

    partition: int
    first: int
    end: int


@dataclass
class Completeness:
    """What was found. `problems` are sentences; none means that bronze is complete up to `verified`, by partition."""

    problems: list[str] = field(default_factory=list)
    rows: int = 0
    checked_offsets: int = 0
    legal_holes: int = 0
    unjudged_holes: int = 0
    compared_records: int = 0
    verified: dict[int, int] = field(default_factory=dict)


def verify_bronze(settings: Settings, lake: Lake, state: TopicState, landed: Sequence[Range]) -> Completeness:
    """Compare bronze with the broker.

    Args:
        settings: of this process, for the broker.
        lake: the lake.
        state: what the broker holds now.
        landed: the offsets that a landing took in, from where it resumed to the watermark it saw at its start.

    Raises:
        TransientFailure: the broker or the lake is away; nothing is judged.
        TableMissing: there is no bronze.
    """
    found = Completeness()
    handle = lake.open(RAW_IMAGES.name)
    table = pl.scan_delta(handle)
    of_topic = pl.col("topic_id") == state.topic_id
    found.rows = int(lake.collect(table.select(pl.len()), RAW_IMAGES.name).item())
    holes: list[Range] = []
    samples: list[tuple[int, int]] = []
    stands = lake.collect(table.filter(of_topic).select("partition", "offset"), RAW_IMAGES.name)
    for part in sorted(state.partitions):
        name = f"{state.topic}-{part}"
        offsets = stands.filter(pl.col("partition") == part)["offset"].sort().to_numpy()
        twice = offsets[1:][offsets[1:] == offsets[:-1]]
        if len(twice):
            found.problems.append(f"{name}: {len(twice)} offsets stand twice, the first is {twice[0]}")
            offsets = np.unique(offsets)
        last = lake.identifier(handle, partition_app_id(state.topic, part, state.topic_id))
        highest = int(offsets[-1]) if len(offsets) else None
        if highest is not None and (last is None or highest > last):
            found.problems.append(f"{name}: offset {highest} stands, and the identifier is {last}: it would land again")
        ranges = [one for one in landed if one.partition == part and one.end > one.first]
        if last is not None and (highest is None or highest < last):
            # Rows below the identifier are gone (a RESTORE does this), or were never there (an accepted loss).
            ranges.append(Range(part, 0 if highest is None else highest + 1, last + 1))
        for one in ranges:
            inside = offsets[np.searchsorted(offsets, one.first) : np.searchsorted(offsets, one.end)]
            found.checked_offsets += one.end - one.first
            holes += missing(one, inside)
            samples += [(part, int(offset)) for offset in _some(inside)]
    _judge_elsewhere(lake, table, state, found)
    found.verified = {one.partition: one.end for one in landed}
    low = {p: bounds[0] for p, bounds in state.partitions.items()}
    readable = [Range(h.partition, max(h.first, low[h.partition]), h.end) for h in holes if h.end > low[h.partition]]
    found.unjudged_holes = len(holes) - len(readable)
    samples = [(part, offset) for part, offset in samples if offset >= low[part]]
    samples = random.sample(samples, min(SAMPLES, len(samples)))
    if readable or samples:
        with _Reader(settings, state) as reader:
            _judge_holes(reader, state, readable, found)
            _compare(lake, reader, state, table.filter(of_topic), samples, found)
    return found


def missing(one: Range, offsets: np.ndarray) -> list[Range]:
    """The runs of offsets of a range that are not in `offsets` (sorted, distinct, inside the range)."""
    edges = np.concatenate([[one.first - 1], offsets, [one.end]])
    gaps = np.flatnonzero(np.diff(edges) > 1)
    return [Range(one.partition, int(edges[at]) + 1, int(edges[at + 1])) for at in gaps]


def _some(offsets: np.ndarray) -> Iterable[int]:
    """The first, the last, and one between: enough to see a wrong mapping of offsets to bytes."""
    if len(offsets) <= 3:
        return offsets.tolist()
    return [int(offsets[0]), int(offsets[random.randrange(1, len(offsets) - 1)]), int(offsets[-1])]


def _judge_elsewhere(lake: Lake, table: pl.LazyFrame, state: TopicState, found: Completeness) -> None:
    """No offset twice in what landed of other topics, and of this one before it was made anew."""
    twice = (
        table.filter(pl.col("topic_id") != state.topic_id)
        .group_by("topic", "topic_id", "partition")
        .agg(pl.len().alias("rows"), pl.col("offset").n_unique().alias("distinct"))
        .filter(pl.col("rows") != pl.col("distinct"))
    )
    for topic, topic_id, part, rows, distinct in lake.collect(twice, RAW_IMAGES.name).iter_rows():
        found.problems.append(f"{topic}-{part} ({topic_id}): {rows} rows, {distinct} distinct offsets")


def _judge_holes(reader: _Reader, state: TopicState, holes: Sequence[Range], found: Completeness) -> None:
    for hole in holes[:MOST_HOLES]:
        present = reader.first_offset(hole)
        if present is None:
            found.legal_holes += 1
        else:
            found.problems.append(
                f"{state.topic}-{hole.partition}: bronze lacks offset {present}, which the broker holds "
                f"(missing {hole.first} to {hole.end - 1})"
            )
    for hole in holes[MOST_HOLES:]:
        found.verified[hole.partition] = min(found.verified.get(hole.partition, hole.first), hole.first)


def _compare(
    lake: Lake,
    reader: _Reader,
    state: TopicState,
    table: pl.LazyFrame,
    samples: Sequence[tuple[int, int]],
    found: Completeness,
) -> None:
    sampled = table.filter(pl.col("offset").is_in([offset for _, offset in samples]))
    columns = sampled.select("partition", "offset", "key", "headers", "payload_sha256", erased=erased_rows())
    rows = lake.collect(columns, RAW_IMAGES.name)
    stored = {(row["partition"], row["offset"]): row for row in rows.iter_rows(named=True)}
    for part, offset in samples:
        if stored[part, offset]["erased"]:
            continue  # the broker has its words until their day is purged
        message = reader.read(part, offset)
        where = f"{state.topic}-{part}"
        if message is None:
            found.problems.append(f"{where}: bronze holds offset {offset}, and the broker holds no such record")
            continue
        found.compared_records += 1
        if different := differences(stored[part, offset], message):
            found.problems.append(f"{where}: offset {offset} differs from the broker in {different}")


def differences(stored: Mapping[str, Any], message: Message) -> str:
    """Names of what differs between a row of bronze and the broker's record; empty when nothing does."""
    value = message.value()
    digest = None if value is None else hashlib.sha256(value).digest()
    key = message.key()
    try:
        headers = message.headers()
    except SystemError:
        # A name that is not UTF-8; it landed with a sign in its place.
        headers = repaired_headers(cast("Any", message))
    names = []
    if stored["payload_sha256"] != digest:
        names.append("value")
    if stored["key"] != (key.encode() if isinstance(key, str) else key):
        names.append("key")
    if [(one["key"], one["value"]) for one in stored["headers"] or []] != [tuple(pair) for pair in headers or []]:
        names.append("headers")
    return ", ".join(names)


class _Reader:
    """Reads single records by offset, with the isolation that landing has."""

    def __init__(self, settings: Settings, state: TopicState) -> None:
        self._settings = settings
        self._state = state
        self._errors = ErrorMemory()

    def __enter__(self) -> _Reader:
        from confluent_kafka import Consumer

        config = {**consumer_config(self._settings, GROUP), "auto.offset.reset": "earliest", "error_cb": self._errors}
        # One record is wanted at a time: a deep queue would fetch megabytes for it.
        config |= {"queued.max.messages.kbytes": "1024", "queued.min.messages": "1", "fetch.message.max.bytes": "65536"}
        self._consumer: Consumer = Consumer(config)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def first_offset(self, hole: Range) -> int | None:
        """The offset of the first record at or behind the hole's start, if it lies inside."""
        message = self._next(hole.partition, hole.first)
        offset = None if message is None else message.offset()
        return offset if offset is not None and offset < hole.end else None

    def read(self, partition: int, offset: int) -> Message | None:
        """The record at an offset; None where there is none."""
        message = self._next(partition, offset)
        return message if message is not None and message.offset() == offset else None

    def _next(self, partition: int, offset: int) -> Message | None:
        from confluent_kafka import KafkaError, TopicPartition

        if offset >= self._state.partitions[partition][1]:
            return None
        self._consumer.assign([TopicPartition(self._state.topic, partition, offset)])
        what = f"for the record of {self._state.topic}-{partition} at offset {offset}"
        deadline = time.monotonic() + self._settings.kafka_timeout_seconds
        message = self._consumer.poll(self._settings.kafka_timeout_seconds)
        while message is not None and message.partition() != partition:
            # The end of the partition read before may be told late.
            message = self._consumer.poll(max(0.1, deadline - time.monotonic()))
        if message is None:
            raise TransientFailure(
                f"Kafka at {self._settings.kafka_bootstrap} was asked {what}, and gave no answer within "
                f"{self._settings.kafka_timeout_seconds:g} s. {self._errors.last}".rstrip(),
                {"topic": self._state.topic, "partition": partition, "offset": offset},
            )
        error = message.error()
        if error is None:
            return message
        if error.code() == KafkaError._PARTITION_EOF:
            return None
        raise failure(self._settings, error, what, self._errors.last, self._state.topic)
