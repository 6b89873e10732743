"""Parquet files for the lake, with the statistics that Delta's log keeps about them.

delta-rs could write them, at half the speed: it copies every value into its own memory, and memory touched for the
first time is what landing spends most of its time on. Here Arrow's own writer lays the caller's buffers out as Parquet,
one file per partition folder, and the statistics come from the few small columns that the table names.

Limits: files are not synced to disk one by one; a power failure is the file system's to survive.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from resources.lake_failures import STORAGE_ERRORS
from transforms.arrow_arrays import integers
from transforms.tables import TableSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_MICROSECOND = {"us": 1, "ns": 1000}
PAGE_BYTES = 1024 * 1024
ROW_GROUP_BYTES = 8 * 1024 * 1024
"""A row group holds about this much at most, for it is what a reader has in memory at once."""


@dataclass(frozen=True)
class WrittenFile:
    """One data file: path relative to the table, size, partition values as Delta writes them, statistics as JSON."""

    path: str
    size: int
    partition_values: Mapping[str, str | None]
    statistics: str


def write_files(
    filesystem: pyarrow.fs.FileSystem, folder: str, spec: TableSpec, data: pa.Table, written: list[WrittenFile]
) -> None:
    """Write `data` (of the schema of `spec`) as one file per combination of partition values.

    Each finished file is added to `written`; where one fails, it and those before it are removed before the error goes
    on: on a full disk each further try would else leave more that nothing points to.

    Raises:
        OSError, obstore.exceptions.BaseError: as it came from the file system.
    """
    for values, rows in _by_partition(spec, data):
        place = "/".join(f"{name}={value}" for name, value in values.items())
        path = f"{place}/{uuid.uuid4()}.parquet" if place else f"{uuid.uuid4()}.parquet"
        full = f"{folder}/{path}"
        try:
            filesystem.create_dir(f"{folder}/{place}", recursive=True)
            _write(filesystem, full, spec, rows)
            size = filesystem.get_file_info(full).size
        except STORAGE_ERRORS:
            for left in (full, *(f"{folder}/{file.path}" for file in written)):
                discard(filesystem, left)
            written.clear()
            raise
        written.append(WrittenFile(path, size, values, json.dumps(statistics(spec, rows), separators=(",", ":"))))


def statistics(spec: TableSpec, rows: pa.Table) -> dict[str, Any]:
    """Delta statistics of `rows`: record count, and smallest, largest and null count of the columns that `spec` names.

    Times are given in milliseconds, rounded outwards, as the Delta protocol says.
    """
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in spec.statistics:
        if name in spec.partition_by:
            continue
        column = rows.column(name)
        nulls[name] = column.null_count
        if column.null_count == len(column) or _no_order(column.type):
            continue
        bounds = pc.call_function("min_max", [column])
        smallest[name] = _stat(bounds["min"], up=False)
        largest[name] = _stat(bounds["max"], up=True)
    return {"numRecords": rows.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls}


def _write(filesystem: pyarrow.fs.FileSystem, path: str, spec: TableSpec, rows: pa.Table) -> None:
    plain = {*spec.sealed, *spec.incompressible}
    leaves = [(path_, column, kind) for column in rows.schema for path_, kind in _leaves(column)]
    with pq.ParquetWriter(
        path,
        rows.schema,
        filesystem=filesystem,
        compression={leaf: "none" if column.name in plain else "zstd" for leaf, column, _ in leaves},
        use_dictionary=[leaf for leaf, column, kind in leaves if column.name not in plain and not _binary(kind)],
        write_statistics=[leaf for leaf, column, _ in leaves if column.name in spec.statistics],
        store_schema=False,
        # In rows, and checked against the page size only after each batch: large values must not make pages of 100 MB.
        write_batch_size=max(1, min(1024, PAGE_BYTES // max(1, rows.nbytes // rows.num_rows))),
    ) as writer:
        for start, length in _row_groups(spec, rows):
            part = rows.slice(start, length)
            writer.write_table(part, row_group_size=_rows_of(part))


def _by_partition(spec: TableSpec, data: pa.Table) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    """Rows by partition values, without the partition columns, in the order in which they came."""
    return _split(data, list(spec.partition_by), {})


def _split(
    rows: pa.Table, names: list[str], values: dict[str, str | None]
) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    if not rows.num_rows:
        return
    if not names:
        yield values, rows
        return
    name, *others = names
    column = rows.column(name)
    body = rows.drop_columns([name])
    distinct = column.unique()
    for value in distinct:
        # Not `group_by`, which imports the dataset module and with it pandas.
        mask = pc.call_function("equal", [column, value]) if value.is_valid else column.is_null()
        part = body if len(distinct) == 1 else body.filter(mask)
        yield from _split(part, others, {**values, name: partition_value(value.as_py())})


def _row_groups(spec: TableSpec, rows: pa.Table) -> list[tuple[int, int]]:
    """(start, length) of runs of rows that share row groups; rows come sorted by `row_group_by` where it matters."""
    if spec.row_group_by is None:
        return [(0, rows.num_rows)]
    values = integers(rows.column(spec.row_group_by), np.int32)
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), rows.num_rows]
    return [(start, end - start) for start, end in itertools.pairwise(edges)]


def _rows_of(rows: pa.Table) -> int:
    """Rows in a row group of about ROW_GROUP_BYTES."""
    return max(1, int(ROW_GROUP_BYTES / max(1.0, rows.nbytes / rows.num_rows)))


def _leaves(column: pa.Field) -> Iterator[tuple[str, pa.DataType]]:
    """Parquet's names of the columns that a field is stored as."""
    yield from _leaves_of(column.name, column.type)


def _leaves_of(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            child = kind.field(index)
            yield from _leaves_of(f"{path}.{child.name}", child.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves_of(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


def _binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _no_order(kind: pa.DataType) -> bool:
    return _binary(kind) or pa.types.is_nested(kind) or pa.types.is_boolean(kind)


def partition_value(value: Any) -> str | None:
    """A partition's value as Delta's log writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


def _stat(value: pa.Scalar, *, up: bool) -> Any:
    if pa.types.is_timestamp(value.type):
        # Not as_py, which imports pandas for times.
        instant = _EPOCH + timedelta(microseconds=value.value // _PER_MICROSECOND[value.type.unit])
        cut = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
        if up and cut != instant:
            cut += timedelta(milliseconds=1)
        return cut.strftime("%Y-%m-%dT%H:%M:%S.") + f"{cut.microsecond // 1000:03d}Z"
    plain = value.as_py()
    return plain.isoformat() if isinstance(plain, date) else plain


def discard(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Remove a file that no commit names, as far as the storage lets us."""
    try:
        filesystem.delete_file(path)
    except STORAGE_ERRORS:
        # Nothing points to it: a full vacuum finds it.
        return
