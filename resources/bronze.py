"""Reads bronze by Kafka offset, in order and in bounded memory.

Readers downstream go on behind the last offset they processed. Files are left out by the statistics in Delta's log, row
groups by those in Parquet's footers; of the rest only the offsets are read, and sorted, and then the payloads row group
by row group. Order never depends on how files came to be: what landing wrote is sorted already and is read once, what
compaction or another writer mixed is put in order by its offsets.

Limits: memory is `batch_bytes`, one record, and the two row groups at hand (landing writes row groups of 8 MiB or one
record). Offsets of all rows to come are held: 16 bytes each.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable

from resources.lake import Lake
from resources.lake_log import file_table
from transforms.arrow_arrays import fixed_array, integers, places_of
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES, TableSpec

_ROW_OVERHEAD = 256
"""Fewest bytes that a row is counted with beside its payload: key, headers, and a tombstone is not free."""

_ZERO = fixed_array(np.zeros(1, dtype=np.int32), pa.int32())[0]
_GROUPS_AT_HAND = 2
_FILES_AT_HAND = 8
_ORIGIN = ("topic", "topic_id", "partition", "offset")
_NO_END = 2**63 - 1

Wanted = Mapping[Position, tuple[int, int]]
"""Offsets to read of each partition: behind the first, up to the second."""


@dataclass(frozen=True)
class _Group:
    """A row group of a data file, and the day of its file."""

    path: str
    index: int
    day: date


def read_since(
    lake: Lake,
    positions: Mapping[Position, int],
    batch_bytes: int,
    *,
    handle: DeltaTable | None = None,
    spec: TableSpec = RAW_IMAGES,
    until: Mapping[Position, int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of bronze behind the given offsets, ordered by topic, partition and offset.

    Args:
        lake: the lake.
        positions: which partitions to read, each with the last offset that is known already (-1 for none).
        batch_bytes: a batch holds about this many bytes of payload at most, or one record.
        handle: the snapshot to read; the newest when None.
        spec: a table that a topic lands in.
        until: the last offset to read of each partition; to the end where it names none.

    Yields:
        Batches of the schema of bronze. A batch may hold rows of several partitions.

    Raises:
        TableMissing: there is no bronze.
    """
    if not positions:
        return
    table = handle if handle is not None else lake.open(spec.name)
    with lake.reading(spec.name) as (filesystem, folder):
        files = _Files(filesystem, folder, spec.schema)
        pending = _Pending(batch_bytes, spec.schema)
        wanted = {at: (after, (until or {}).get(at, _NO_END)) for at, after in positions.items()}
        groups = _groups(table, files, wanted)
        for _, runs in _ordered(files, groups, wanted):
            for group, rows in runs:
                yield from pending.add(files.rows(group, rows))
        yield from pending.rest()


class _Files:
    """Open files and the row groups read last."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem, folder: str, schema: pa.Schema) -> None:
        self._filesystem = filesystem
        self._folder = folder
        self._schema = schema
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._read: OrderedDict[_Group, pa.Table] = OrderedDict()

    def file(self, path: str) -> pq.ParquetFile:
        """The file at a path relative to the table."""
        if path not in self._open:
            source = self._filesystem.open_input_file(f"{self._folder}/{path}")
            # Not pre-buffered: that would hold whole column chunks twice.
            self._open[path] = pq.ParquetFile(source, pre_buffer=False)
            if len(self._open) > _FILES_AT_HAND:
                _, oldest = self._open.popitem(last=False)
                oldest.close(force=True)
        self._open.move_to_end(path)
        return self._open[path]

    def rows(self, group: _Group, rows: np.ndarray) -> pa.Table:
        """Rows of a row group by place, rising or not."""
        table = self._group(group)
        first, last = int(rows[0]), int(rows[-1])
        if last - first + 1 == len(rows) and (len(rows) == 1 or bool(np.all(np.diff(rows) == 1))):
            return table.slice(first, len(rows))
        return table.take(fixed_array(np.ascontiguousarray(rows, dtype=np.int64), pa.int64()))

    def _group(self, group: _Group) -> pa.Table:
        if group not in self._read:
            while len(self._read) >= _GROUPS_AT_HAND:
                self._read.popitem(last=False)
            body = self.file(group.path).read_row_group(group.index, use_threads=False)
            days = np.full(body.num_rows, (group.day - date(1970, 1, 1)).days, dtype=np.int32)
            whole = body.append_column("day", fixed_array(days, pa.date32()))
            for field in self._schema:
                # Files of before the table got this column.
                if field.name not in whole.column_names:
                    whole = whole.append_column(field, pa.nulls(whole.num_rows, field.type))
            self._read[group] = whole.select(self._schema.names).cast(self._schema)
        self._read.move_to_end(group)
        return self._read[group]


class _Pending:
    """Rows on their way into a batch."""

    def __init__(self, batch_bytes: int, schema: pa.Schema) -> None:
        self._most = batch_bytes
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """Take rows; yields the batches that became full."""
        sizes = _payload_sizes(table)
        start = 0
        for place, size in enumerate(sizes.tolist()):
            if self._bytes and self._bytes + size > self._most:
                self._tables.append(table.slice(start, place - start))
                yield from self.rest()
                start = place
            self._bytes += size
        self._tables.append(table.slice(start))

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The batch that is left, if there is one."""
        tables, self._tables, self._bytes = self._tables, [], 0
        whole = pa.concat_tables(tables) if tables else self._schema.empty_table()
        if whole.num_rows:
            yield from whole.combine_chunks().to_batches()


def _groups(table: DeltaTable, files: _Files, wanted: Wanted) -> Iterator[_Group]:
    """Row groups that may hold a wanted row."""
    ends = [f"{bound}.{name}" for bound in ("min", "max") for name in _ORIGIN]
    actions = file_table(table)
    names = [name for name in ("path", "partition.day", *ends) if name in actions.column_names]
    for action in actions.select(names).to_pylist():
        bounds = {name: (action.get(f"min.{name}"), action.get(f"max.{name}")) for name in _ORIGIN}
        if not _may_hold(bounds, wanted):
            continue
        metadata = files.file(action["path"]).metadata
        columns = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            if _may_hold({name: _bounds(group.column(columns[name])) for name in _ORIGIN}, wanted):
                yield _Group(action["path"], index, action["partition.day"])


def _bounds(column: Any) -> tuple[Any, Any]:
    statistics = column.statistics
    return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else (None, None)


def _may_hold(bounds: Mapping[str, tuple[Any, Any]], wanted: Wanted) -> bool:
    """Whether these bounds (None: unknown) leave room for a wanted row."""

    def inside(name: str, value: Any) -> bool:
        low, high = bounds[name]
        return (low is None or low <= value) and (high is None or value <= high)

    first, last = bounds["offset"]
    return any(
        (last is None or last > after)
        and (first is None or first <= end)
        and inside("partition", at.partition)
        and inside("topic_id", at.topic_id)
        and inside("topic", at.topic)
        for at, (after, end) in wanted.items()
    )


def _ordered(
    files: _Files, groups: Iterator[_Group], wanted: Wanted
) -> Iterator[tuple[Position, Iterator[tuple[_Group, np.ndarray]]]]:
    """For each position, runs of rows of one row group, together ordered by offset."""
    found: dict[Position, list[tuple[_Group, np.ndarray, np.ndarray]]] = {at: [] for at in sorted(wanted)}
    for group in groups:
        for at, offsets, rows in _places(files, group, wanted):
            found[at].append((group, offsets, rows))
    for at, parts in found.items():
        if parts:
            yield at, _runs(parts)


def _places(files: _Files, group: _Group, wanted: Wanted) -> Iterator[tuple[Position, np.ndarray, np.ndarray]]:
    """Offsets of each wanted stretch in a row group, and their places in it."""
    columns = files.file(group.path).read_row_group(group.index, columns=list(_ORIGIN), use_threads=False)
    columns = columns.cast(pa.schema([RAW_IMAGES.schema.field(name) for name in _ORIGIN])).combine_chunks()
    offsets = integers(columns.column("offset"), np.int64)
    partitions = integers(columns.column("partition"), np.int32)
    for at, (after, end) in wanted.items():
        mask = (offsets > after) & (offsets <= end) & (partitions == at.partition)
        if not mask.any():
            continue
        for name, value in (("topic_id", at.topic_id), ("topic", at.topic)):
            mask &= _is(columns.column(name), value)
        rows = np.flatnonzero(mask)
        if len(rows):
            yield at, offsets[rows], rows


def _is(column: pa.ChunkedArray, value: str) -> np.ndarray:
    mask = np.zeros(len(column), dtype=bool)
    for distinct in column.unique():
        if distinct.as_py() == value:
            mask[places_of(distinct, column.combine_chunks())] = True
    return mask


def _runs(parts: list[tuple[_Group, np.ndarray, np.ndarray]]) -> Iterator[tuple[_Group, np.ndarray]]:
    """Rows of the parts in order of offset, cut where the row group changes."""
    offsets = np.concatenate([offsets for _, offsets, _ in parts])
    rows = np.concatenate([rows for _, _, rows in parts])
    owners = np.repeat(np.arange(len(parts)), [len(rows) for _, _, rows in parts])
    order = np.argsort(offsets, kind="stable")
    owners, rows = owners[order], rows[order]
    edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(rows)]
    for start, end in itertools.pairwise(edges):
        yield parts[int(owners[start])][0], rows[start:end]


def _payload_sizes(table: pa.Table) -> np.ndarray:
    sizes = pc.call_function("binary_length", [table.column("payload")])
    filled = pc.call_function("coalesce", [sizes, _ZERO]) if sizes.null_count else sizes
    payloads = integers(filled, np.int32).astype(np.int64)
    # Spread evenly, which is exact for all rows together: headers may be larger than any payload.
    beside = (table.nbytes - int(payloads.sum())) // max(1, table.num_rows)
    return payloads + max(_ROW_OVERHEAD, beside)
