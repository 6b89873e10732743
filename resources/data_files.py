"""The rows of single data files of a Delta table: for writers that rewrite some of them and leave the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from resources.lake import Lake
from transforms.table_spec import TableSpec


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
