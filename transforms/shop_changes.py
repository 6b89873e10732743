"""What PostgreSQL recorded of the items, as events of item versions (transforms/scd2.py).

A version that begins is an upsert, and one that ends is a delete. Where one version of an item ends as the next begins
in the same transaction, the item changed and was not deleted: only the upsert is an event. Of an item at most one
version begins and at most one ends at an instant, so that `seq` decides between the two: 1 begins, 0 ends. Pure.
"""

from __future__ import annotations

import polars as pl

from transforms.scd2 import DELETE, UPSERT

INSTANT = pl.Datetime("us", "UTC")
KEY = ("item_id",)
ATTRIBUTES: dict[str, pl.DataType] = {
    "name": pl.String(),
    "manufacturer": pl.String(),
    "cost": pl.Decimal(12, 2),
    "weight_kg": pl.Decimal(10, 3),
}
PLACE: dict[str, pl.DataType] = {"transaction": pl.Int64(), "change_id": pl.Int64(), "changed_at": INSTANT}

VERSIONS: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    **ATTRIBUTES,
    "effective_date": INSTANT,
    "end_date": INSTANT,
}
"""Columns of shop.item_versions that are read."""

CHANGES: dict[str, pl.DataType] = {**PLACE, "operation": pl.String(), **VERSIONS}
"""Columns of shop.item_changes."""

_EVENT = ("item_id", "op", "ts", "seq", *ATTRIBUTES, *PLACE)


def events_of_changes(changes: pl.DataFrame) -> pl.DataFrame:
    """The events that the changes of whole transactions are.

    Args:
        changes: columns of `CHANGES`; all changes of each transaction.

    Returns:
        item_id, op, ts, seq, the attributes (null for a delete), transaction, change_id, changed_at; in order of
        transaction, then change. A version that was loaded with its end gives two events.
    """
    begins = changes.filter(pl.col("operation") == "INSERT")
    upserts = begins.with_columns(op=pl.lit(UPSERT), ts="effective_date", seq=pl.lit(1, pl.Int64))
    deletes = (
        changes.filter(pl.col("end_date").is_not_null())
        .with_columns(op=pl.lit(DELETE), ts="end_date", seq=pl.lit(0, pl.Int64))
        .with_columns(pl.lit(None, kind).alias(name) for name, kind in ATTRIBUTES.items())
        .join(upserts, on=["transaction", "item_id", "ts"], how="anti")
    )
    events = pl.concat([upserts.select(_EVENT), deletes.select(_EVENT)])
    return events.sort("transaction", "change_id", "seq", descending=[False, False, True])


def events_of_versions(versions: pl.DataFrame) -> pl.DataFrame:
    """The least events that fold to these versions, for a log that is begun anew.

    Args:
        versions: columns of `VERSIONS`.

    Returns:
        As `events_of_changes`, in order of time, with no transaction, change_id and changed_at.
    """
    whole = versions.sort("effective_date", "item_id").with_row_index("change_id")
    changes = whole.with_columns(
        pl.lit(0, pl.Int64).alias("transaction"),
        pl.lit(None, INSTANT).alias("changed_at"),
        operation=pl.lit("INSERT"),
    )
    events = events_of_changes(changes.select(pl.col(name).cast(kind) for name, kind in CHANGES.items()))
    return events.sort("ts", "item_id", "seq").with_columns(
        pl.lit(None, kind).alias(name) for name, kind in PLACE.items()
    )
