"""One derived table follows another: each row of the source gets one row, and what the source no longer has goes.

Mechanism: rows are compared by id and place (topic id, partition, offset), so that a replayed image, whose offset is an
old one, is found too, and an image whose id another record had taken is computed anew. What is missing is made in
chunks, ordered by offset; each commit carries the last offset done per partition, under the guards of
`resources.tracked_table`. Killed anywhere, the next run finds the rest; of two runs at once each row is written by one.
Rows that the source lost (a purged day), or that are of an old recipe, are dropped by writing their days anew.

A row whose data key is destroyed is passed over: it is counted as dark, and looked at again by its key alone.
Limits: a run reads id, key and place of every row of both tables, some 100 bytes an image in memory while it compares.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from resources.compute import BatchFunction, Compute, Tools, map_in_parts, nullable, span_of, within
from resources.lake import Lake
from resources.lake_commits import until_committed
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.landing_protocol import Position
from transforms.tables import TableSpec

CHUNK_ROWS = 2048
"""Rows of a commit; a backend elsewhere gets as many as are worth one call of it."""
DARK, UNREADABLE = "key destroyed", "unreadable"
"""Why a row of the source makes none here."""

_ROW = ["id", "topic_id", "partition", "offset"]
_PLACE = _ROW[1:]
_COMPARED = [*_ROW, "topic", "day", "key"]


SKIPPED = "skipped"
"""Column of a maker's rows: why the row of the source makes none."""


@dataclass
class Made:
    """Rows made of a chunk, and how many of it made none, by reason."""

    rows: pa.Table
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Maker:
    """Makes rows of the target: from rows of the source whose keys all open, one for one.

    Attributes:
        run: as of a `BatchFunction`; a row that makes none comes back with its place and the column `skipped`.
        columns: of the source, that it needs.
        target: the table whose rows it makes.
    """

    run: Callable[[SealedRows, pl.DataFrame], list[dict[str, Any]]]
    columns: tuple[str, ...]
    target: TableSpec

    def function(self) -> BatchFunction:
        """The same, for a backend elsewhere."""
        columns = tuple(dict.fromkeys([*_COMPARED, *self.columns]))
        result = pa.schema([*nullable(self.target.schema), pa.field(SKIPPED, pa.string())])
        return BatchFunction(columns, result, functools.partial(_make_batches, self.run, result))

    def made(self, rows: list[dict[str, Any]]) -> Made:
        """The rows that are some, as a table, and the count of the others."""
        skipped = Counter(str(row[SKIPPED]) for row in rows if row.get(SKIPPED))
        good = [{name: row[name] for name in self.target.schema.names} for row in rows if not row.get(SKIPPED)]
        return Made(pa.Table.from_pylist(good, schema=self.target.schema), skipped)


def _make_batches(
    run: Callable[[SealedRows, pl.DataFrame], list[dict[str, Any]]],
    result: pa.Schema,
    tools: Tools,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """What a backend runs: rows whose key is dark make nothing, as here."""
    sealed = SealedRows(tools.keys)
    for batch in batches:
        frame = pl.DataFrame(pa.table(batch))
        names = frame["key"].unique().to_list()
        rows = run(sealed, frame.filter(pl.col("key").is_in([name for name in names if sealed.key(name)])))
        yield from pa.Table.from_pylist(rows, schema=result).to_batches()


@dataclass(frozen=True)
class Followed:
    """What one run did: rows added and dropped, rows of the source that make none by reason, last offsets, commits."""

    rows: int
    dropped: int
    skipped: Mapping[str, int]
    positions: Mapping[Position, int]
    commits: int


class Follower:
    """Brings a table to where its source is.

    Args:
        lake: the lake.
        source: the table to follow.
        source_app_id: the identifier that says how far the source is.
        target: the table to write.
        maker: makes the rows.
        current: which rows of the target count as made; of the recipe, or model version, at hand.
        outdated: which rows of the target are to go though the source has them.
    """

    def __init__(
        self,
        lake: Lake,
        source: TableSpec,
        source_app_id: Callable[[Position], str],
        target: TrackedTable,
        *,
        maker: Maker,
        current: pl.Expr,
        outdated: pl.Expr | None = None,
    ) -> None:
        self._lake = lake
        self._source = source
        self._source_app_id = source_app_id
        self._target = target
        self._maker = maker
        self._current = current
        self._outdated = pl.lit(False) if outdated is None else outdated

    def follow(
        self,
        sealed: SealedRows,
        progress: Callable[[int, int], None] | None = None,
        far: Compute | None = None,
        told: Callable[[pa.Table], None] | None = None,
    ) -> Followed:
        """Make what is missing, to the end of the source as it is now.

        Args:
            sealed: opens keys.
            progress: told after each chunk how many rows are done, of how many.
            far: the backend that makes them; None for this process.
            told: given the rows of each commit.

        Raises:
            TransientFailure: keys or lake are away, or other writers kept being first. What was committed stands.
        """
        # What an attempt committed before its conflict stands, and is counted.
        rows = dropped = 0

        def attempt() -> Followed:
            nonlocal rows, dropped
            source = self._lake.ensure(self._source)
            dropped += self._drop(source)
            missing = self._missing(source)
            names = missing["key"].unique().to_list()
            open_ones = missing.filter(pl.col("key").is_in([name for name in names if sealed.key(name)]))
            skipped = Counter({DARK: missing.height - open_ones.height})
            each = CHUNK_ROWS if far is None else far.span_rows
            for start in range(0, open_ones.height, each):
                chunk = open_ones.slice(start, each)
                made = self._make(sealed, source, chunk, far)
                self._target.append(made.rows, _reached(chunk))
                rows += made.rows.num_rows
                if told is not None:
                    told(made.rows)
                skipped += made.skipped
                if progress is not None:
                    progress(start + chunk.height, open_ones.height)
            positions = self._positions(source)
            self._target.append(None, positions)
            return Followed(rows, dropped, dict(+skipped), positions, self._target.commits)

        return until_committed(attempt, self._target.refresh)

    def _make(self, sealed: SealedRows, source: DeltaTable, chunk: pl.DataFrame, far: Compute | None) -> Made:
        if far is None:
            return self._maker.made(self._maker.run(sealed, self._read(source, chunk)))
        span = span_of(source, self._source, chunk)
        batches, alone = map_in_parts(self._lake, far, self._maker.function(), source, span)
        wanted = set(chunk.select(_PLACE).iter_rows())
        rows = [row for batch in batches for row in batch.to_pylist() if tuple(row[one] for one in _PLACE) in wanted]
        # What the backend has no memory for is made here.
        for part in (chunk.filter(within(one)) for one in alone):
            rows += self._maker.run(sealed, self._read(source, part)) if part.height else []
        # In the order of the source, whatever order tasks ended in.
        return self._maker.made(sorted(rows, key=lambda row: (row["topic_id"], row["partition"], row["offset"])))

    def _missing(self, source: DeltaTable) -> pl.DataFrame:
        made = pl.scan_delta(self._target.handle).filter(self._current).select(_ROW)
        rows = pl.scan_delta(source).select(_COMPARED).join(made, on=_ROW, how="anti")
        return self._collect(rows).sort("topic", "topic_id", "partition", "offset")

    def _drop(self, source: DeltaTable) -> int:
        """Write the days anew that hold rows which the source has not, or which are outdated."""
        target = pl.scan_delta(self._target.handle)
        there = pl.scan_delta(source).select(_ROW)
        lost = target.select(*_ROW, "day").join(there, on=_ROW, how="anti").select("day")
        old = target.filter(self._outdated).select("day")
        days: list[date] = sorted(self._collect(pl.concat([lost, old]).unique())["day"])
        if not days:
            return 0
        held = target.filter(pl.col("day").is_in(days))
        kept = self._collect(held.filter(~self._outdated).join(there, on=_ROW, how="semi"))
        gone = self._target.collect(held.select(pl.len())).item() - kept.height
        self._target.replace_days(kept.to_arrow(), days, {})
        return gone

    def _read(self, source: DeltaTable, chunk: pl.DataFrame) -> pl.DataFrame:
        """The chunk's rows with what is made of them; statistics of days, partitions and offsets leave files out."""
        columns = list(dict.fromkeys([*_COMPARED, *self._maker.columns]))
        near = pl.scan_delta(source).filter(
            pl.col("day").is_in(chunk["day"].unique().to_list()),
            pl.col("partition").is_in(chunk["partition"].unique().to_list()),
            pl.col("offset").is_between(chunk["offset"].min(), chunk["offset"].max()),
            pl.col("id").is_in(chunk["id"].to_list()),
        )
        rows = near.select(columns).join(chunk.lazy().select(_ROW), on=_ROW, how="semi")
        return self._lake.collect(rows, self._source.name).sort("topic", "topic_id", "partition", "offset")

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return self._lake.collect(frame, f"{self._source.name} or {self._target.spec.name}")

    def _positions(self, source: DeltaTable) -> dict[Position, int]:
        """How far the source itself says it is, of every partition that it holds rows of."""
        held = self._lake.collect(
            pl.scan_delta(source).select("topic", "partition", "topic_id").unique(), self._source.name
        )
        at = sorted(Position(*row) for row in held.iter_rows())
        found = {one: self._lake.identifier(source, self._source_app_id(one)) for one in at}
        return {one: last for one, last in found.items() if last is not None}


def _reached(chunk: pl.DataFrame) -> dict[Position, int]:
    last = chunk.group_by("topic", "partition", "topic_id").agg(pl.col("offset").max())
    return {Position(topic, partition, topic_id): offset for topic, partition, topic_id, offset in last.iter_rows()}
