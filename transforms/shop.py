"""The shop's insights: sales with the items they were made with, the members who spend most, the items most bought.

Every sale carries its item as it was at its time, so that a change or a removal of an item changes no insight about the
past. Cancelled sales do not count. Stretches of time are counted back from the midnight (UTC) after the newest sale and
not from now: the same sales give the same insight on any day. Sums are decimals, exact. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from transforms.scd2 import join_as_of
from transforms.shop_changes import INSTANT, KEY

MEMBERS, ITEMS = 10, 3
"""How many the two lists name."""

ALL = "all"
DAYS = (365, 90, 30)
"""Stretches besides all of time, in days."""

SUM = pl.Decimal(22, 2)
DETAILS: dict[str, pl.DataType] = {
    "sale_id": pl.String(),
    "membership_id": pl.String(),
    "sold_at": INSTANT,
    "status": pl.String(),
    "item_id": pl.String(),
    "quantity": pl.Int32(),
    "price": pl.Decimal(12, 2),
}
"""Columns of a detail with its sale."""

_CANCELLED = "cancelled"


def sales_with_items(details: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """Each detail with its item's version of that time.

    Args:
        details: columns of `DETAILS`.
        versions: history of items, as `transforms.scd2.fold` gives it.

    Returns:
        Rows sorted by sold_at, sale and item: details, `amount`, the item's attributes, and `item_version` (the
        version's effective_date), null where the item has no version that is known at that time.
    """
    joined = join_as_of(details, versions, KEY, "sold_at")
    return (
        joined.with_columns(amount=(pl.col("price").cast(SUM) * pl.col("quantity")).cast(SUM))
        .rename({"effective_date": "item_version"})
        .drop("end_date", "current_flag")
        .sort("sold_at", "sale_id", "item_id")
    )


def stretches(newest: datetime) -> list[tuple[str, datetime | None, datetime]]:
    """Name, first instant and end of each stretch of time that ends with the day of `newest` (UTC)."""
    end = newest.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return [(ALL, None, end), *((f"last {days} days", end - timedelta(days=days), end) for days in DAYS)]


def top_members(sales: pl.DataFrame, count: int = MEMBERS) -> pl.DataFrame:
    """The members who spent most.

    Args:
        sales: rows of `sales_with_items`.
        count: how many of each stretch.

    Returns:
        window, window_start, window_end, rank, membership_id, spent, sales; of equal ones the lower id is first.
    """
    return _ranked(
        sales,
        "membership_id",
        [pl.col("amount").sum().cast(SUM).alias("spent"), pl.col("sale_id").n_unique().cast(pl.Int64).alias("sales")],
        "spent",
        count,
    )


def top_items(sales: pl.DataFrame, count: int = ITEMS) -> pl.DataFrame:
    """The items most bought, by pieces; named as they were when last sold in that stretch.

    Args:
        sales: rows of `sales_with_items`.
        count: how many of each stretch.

    Returns:
        window, window_start, window_end, rank, item_id, name, manufacturer, pieces, amount; of equal ones the lower id
        is first.
    """
    return _ranked(
        sales.sort("sold_at", "sale_id"),
        "item_id",
        [
            pl.col("name").last(),
            pl.col("manufacturer").last(),
            pl.col("quantity").cast(pl.Int64).sum().alias("pieces"),
            pl.col("amount").sum().cast(SUM),
        ],
        "pieces",
        count,
    )


def _ranked(sales: pl.DataFrame, who: str, sums: list[pl.Expr], by: str, count: int) -> pl.DataFrame:
    counted = sales.filter(pl.col("status") != _CANCELLED)
    newest = counted["sold_at"].max()
    # Without a sale the stretches are empty wherever they lie.
    known = newest if isinstance(newest, datetime) else datetime(1970, 1, 1, tzinfo=UTC)
    parts = []
    for name, start, end in stretches(known):
        within = counted if start is None else counted.filter(pl.col("sold_at") >= start)
        best = within.group_by(who, maintain_order=True).agg(sums).sort(by, who, descending=[True, False]).head(count)
        parts.append(
            best.select(
                pl.lit(name).alias("window"),
                pl.lit(start, INSTANT).alias("window_start"),
                pl.lit(end, INSTANT).alias("window_end"),
                pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("rank"),
                pl.all(),
            )
        )
    return pl.concat(parts)
