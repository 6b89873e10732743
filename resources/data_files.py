"""Single data files of a Delta table, and their rows: for who rewrites some of them and leaves the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow.fs
import pyarrow.parquet as pq

from resources.lake import Lake
from resources.lake_log import files_of
from transforms.table_spec import TableSpec

IN_FLIGHT = timedelta(hours=1)
"""A file that no version names and that is younger may be one that its writer has yet to commit."""


def read_file(lake: Lake, spec: TableSpec, file: dict[str, Any], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of one file that `files_of` named, with the table's columns, or those that are named.

    Columns that the table is partitioned by stand in no file, and one that the table got later in none that is older:
    the first are taken from the log, the second are null.
    """
    with lake.reading(spec.name) as (filesystem, folder):
        held = pq.ParquetFile(f"{folder}/{file['path']}", filesystem=filesystem)
        rows = held.read(None if columns is None else [name for name in columns if name in held.schema_arrow.names])
    frame, names = pl.DataFrame(rows), columns or spec.schema.names
    kinds = pl.DataFrame(spec.schema.empty_table()).schema
    missing = [
        pl.lit(file.get(f"partition.{name}"), dtype=kinds[name]).alias(name)
        for name in names
        if name not in frame.columns
    ]
    return frame.with_columns(missing).select(names)


def unnamed_files(
    lake: Lake, spec: TableSpec, chosen: Callable[[date], bool], now: datetime, removed: Collection[str] = ()
) -> list[tuple[date, str]]:
    """Files below a table's folders of the chosen days that its present version does not name: day and path of each.

    They are of older versions, or orphans of killed writers. One younger than an hour may be one that its writer has
    yet to commit: it is left out, but for those that are said to be removed.

    Raises:
        TableMissing: there is no such table.
        LakeUnavailable: its storage is away.
    """
    named = {file["path"] for file in files_of(lake.open(spec.name))}
    found = []
    with lake.reading(spec.name) as (filesystem, folder):
        for day, info in _day_files(filesystem, folder, chosen):
            path = info.path.removeprefix(f"{folder}/")
            age = now - info.mtime if info.mtime is not None else timedelta(0)
            if path not in named and (path in removed or age > IN_FLIGHT):
                found.append((day, path))
    return found


def _day_files(
    filesystem: pyarrow.fs.FileSystem, folder: str, chosen: Callable[[date], bool]
) -> Iterator[tuple[date, pyarrow.fs.FileInfo]]:
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True)):
        name = info.base_name
        if info.type != pyarrow.fs.FileType.Directory or not name.startswith("day="):
            continue
        try:
            day = date.fromisoformat(name.removeprefix("day="))
        except ValueError:
            continue
        if chosen(day):
            for file in filesystem.get_file_info(pyarrow.fs.FileSelector(info.path, recursive=True)):
                if file.type == pyarrow.fs.FileType.File:
                    yield day, file
