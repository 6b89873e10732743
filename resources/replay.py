"""Quarantine tried again, after what turned the records away was mended: a limit raised, a key store put back, a new
decoder.

Each record is read again from bronze by topic id, partition and offset, opened and decoded like a new one. A good one
goes to processed images, under the same guards as in the live lane (`resources.derived_tables`), and only then leaves
quarantine; no offset moves. Stopped anywhere and run again, alone or beside the live lane, each image has one row.

A record that is refused again keeps its row as it is, the first reason with it. One that bronze no longer holds keeps
its row too, and is counted as gone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
from deltalake import DeltaTable

from resources.derived_tables import DerivedTables, Place
from resources.developing import CHUNK_BYTES, CHUNK_RECORDS
from resources.judging import Decoder, Judged, NoIds, judge
from resources.key_protocol import Keys
from resources.lake import Lake, TableMissing
from resources.lake_commits import until_committed
from resources.opening import Opener
from resources.records import COLUMNS, Record, records_of
from resources.settings import Settings
from resources.status_telling import StatusWriter, tell
from transforms.reasons import Reason
from transforms.tables import QUARANTINED_IMAGES, RAW_IMAGES


@dataclass(frozen=True)
class ReplayResult:
    """What a replay did.

    Attributes:
        tried: quarantined records that were looked at.
        replayed: of these, records that are developed now and left quarantine.
        still_quarantined: of these, records that stay, the gone ones among them.
        gone: of these, records that bronze no longer holds.
        seconds: wall time by part.
    """

    tried: int
    replayed: int
    still_quarantined: int
    gone: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Row:
    place: Place
    day: date
    bytes: int


def replay(
    settings: Settings,
    lake: Lake,
    keys: Keys,
    status: StatusWriter | None,
    pool: Decoder,
    *,
    reason: Reason | None = None,
    progress: Callable[[int, int], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ReplayResult:
    """Try quarantined records again.

    Args:
        reason: only those with this reason; None for all.
        progress: told after each chunk how many records are done, of how many.

    Raises:
        TransientFailure: keys, lake or decoding processes are away; what was moved stands.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    try:
        quarantine, bronze = lake.open(QUARANTINED_IMAGES.name), lake.open(RAW_IMAGES.name)
    except TableMissing:
        return ReplayResult(0, 0, 0, 0, {})
    tables = DerivedTables(lake)
    rows = _rows(lake, quarantine, reason)
    tried = replayed = gone = 0
    for chunk in _chunks(rows):
        began = time.perf_counter()
        records = _read(lake, bronze, chunk)
        seconds["read"] += time.perf_counter() - began
        # Every image is decoded: a row may leave quarantine only by being good.
        judged = judge(records, Opener(settings, keys), pool, NoIds(), seconds)
        began = time.perf_counter()
        replayed += _move(tables, judged, now)
        seconds["write"] += time.perf_counter() - began
        tell(status, Judged(good=judged.good))
        tried += len(chunk)
        gone += len(chunk) - len(records)
        if progress is not None:
            progress(tried, len(rows))
    return ReplayResult(tried, replayed, tried - replayed, gone, {part: round(s, 3) for part, s in seconds.items()})


def _move(tables: DerivedTables, judged: Judged, now: Callable[[], datetime]) -> int:
    """Good images into processed_images, then out of quarantine; returns how many records left."""
    if not judged.good:
        return 0

    def attempt() -> int:
        tables.add_processed(judged.good, {}, now())
        return tables.remove_quarantined([one.place for one in judged.good])

    return until_committed(attempt, tables.refresh)


def _rows(lake: Lake, quarantine: DeltaTable, reason: Reason | None) -> list[_Row]:
    table = pl.scan_delta(quarantine)
    if reason is not None:
        table = table.filter(pl.col("reason") == reason.value)
    found = lake.collect(table.select("topic_id", "partition", "offset", "day", "bytes"), QUARANTINED_IMAGES.name)
    return [
        _Row((topic_id, partition, offset), day, size)
        for topic_id, partition, offset, day, size in found.sort("topic_id", "partition", "offset").iter_rows()
    ]


def _chunks(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) >= CHUNK_RECORDS or size + row.bytes > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row.bytes
    if chunk:
        yield chunk


def _read(lake: Lake, bronze: DeltaTable, chunk: Sequence[_Row]) -> list[Record]:
    """The chunk's records, as far as bronze holds them; by day and offset, so that files without them are not
    opened."""
    offsets = [row.place[2] for row in chunk]
    wanted = {row.place for row in chunk}
    near = pl.scan_delta(bronze).filter(
        pl.col("day").is_in(sorted({row.day for row in chunk})),
        pl.col("topic_id").is_in(sorted({row.place[0] for row in chunk})),
        pl.col("partition").is_in(sorted({row.place[1] for row in chunk})),
        pl.col("offset").is_in(offsets),
    )
    table = lake.collect(near.select(COLUMNS), RAW_IMAGES.name, streaming=True)
    table = table.sort("topic_id", "partition", "offset")
    records = (record for batch in table.to_arrow().to_batches() for record in records_of(batch))
    return [record for record in records if record.place in wanted]
