"""Events of items as tests write them: one good event, and what is changed about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from transforms.scd2 import fold

KEY = ["item_id"]
INSTANT = pl.Datetime("us", "UTC")
SCHEMA = {
    "item_id": pl.String,
    "name": pl.String,
    "cost": pl.Decimal(12, 2),
    "op": pl.String,
    "ts": INSTANT,
    "seq": pl.Int64,
    "batch_id": pl.String,
}


def day(number: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number - 1)


def event(ts: float | None, name: str | None = "lamp", cost: int | None = 1, **other: Any) -> dict[str, Any]:
    """An upsert of item i1 on a day of March, with one thing or another changed."""
    row = {"item_id": "i1", "name": name, "cost": cost, "op": "upsert", "seq": None, "batch_id": None}
    return {**row, "ts": None if ts is None else day(ts), **other}


def delete(ts: float, **other: Any) -> dict[str, Any]:
    return event(ts, None, None, op="delete", **other)


def events(*rows: dict[str, Any]) -> pl.DataFrame:
    """A frame of them, in order of arrival."""
    priced = [{**row, "cost": None if row["cost"] is None else Decimal(row["cost"])} for row in rows]
    return pl.DataFrame(priced, schema=SCHEMA)


def versions(history: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Of each version the columns, then the days of its start and end."""
    columns = columns or ("name",)
    first = day(1)
    days = [(pl.col(name) - first).dt.total_seconds() / 86400 + 1 for name in ("effective_date", "end_date")]
    return history.select(*columns, *days).rows()


def folded(*rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Name, start and end of each version that the events fold to."""
    return versions(fold(events(*rows), KEY))


# i1 is a, then b, away from day 5, and back as c; i2 is z and stays.
HISTORY = fold(events(event(1, "a"), event(3, "b"), delete(5), event(7, "c"), event(1, "z", item_id="i2")), KEY)
