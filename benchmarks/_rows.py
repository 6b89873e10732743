"""Rows that fill a table of the lake, for what is measured of its size."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from transforms.tables import TableSpec


def rows_of(spec: TableSpec, day: date, count: int) -> pa.Table:
    """Rows of a table with something in each column, made a column at a time."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)

    def column(field: pa.Field) -> pa.Array:
        kind = field.type
        if field.name == "id":
            return pa.array([f"{number:026d}" for number in range(count)])
        if field.name == "offset":
            return pa.array(np.arange(count))
        if pa.types.is_timestamp(kind):
            return pa.array([noon] * count, kind)
        if pa.types.is_date(kind):
            return pa.array([day] * count, kind)
        if pa.types.is_list(kind):
            return pa.nulls(count, kind)
        if pa.types.is_binary(kind):
            return pa.array([os.urandom(100)] * count, kind)
        value = 1 if pa.types.is_integer(kind) else 0.5 if pa.types.is_floating(kind) else "x"
        return pa.array([value] * count, kind)

    return pa.Table.from_arrays([column(field) for field in spec.schema], schema=spec.schema)
