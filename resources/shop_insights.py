"""The shop's derived tables, each written anew where its rows changed, and left alone where they did not.

A table is replaced whole, in one commit: readers see the old rows or the new ones. Its inputs are read at one instant
each, the versions of items before the sales, so that a sale always finds the item that was there before it, unless the
item's change is not captured yet; that sale is told by `unmatched` and found by a later run.

Limits: all details of all sales are held in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from resources.lake import Lake
from resources.lake_log import files_of
from resources.shop_reading import snapshot, sold_details
from transforms.shop import sales_with_items
from transforms.shop_tables import DIM_ITEM, SALES_WITH_ITEMS
from transforms.table_spec import TableSpec


@dataclass(frozen=True)
class Replaced:
    """What became of a table: whether it was written, its rows, and what it holds now."""

    written: bool
    frame: pl.DataFrame


def replace_rows(lake: Lake, spec: TableSpec, frame: pl.DataFrame) -> Replaced:
    """Put `frame` in the place of all rows; nothing is committed where they are the same, in the same order.

    Args:
        frame: columns of `spec`, which has no partitions.

    Raises:
        CommitConflict: another writer was first; nothing stands.
    """
    handle = lake.ensure(spec)
    writer = f"{spec.name.split('/')[-1]}-writer"
    seen = lake.identifier(handle, writer)
    rows = frame.select(spec.schema.names).to_arrow().cast(spec.schema)
    files = [file["path"] for file in files_of(handle)]
    fresh = pl.DataFrame(rows)
    if seen is not None and len(files) <= 1 and lake.collect(pl.scan_delta(handle), spec.name).equals(fresh):
        return Replaced(False, fresh)
    lake.replace_files(handle, spec, [rows], files, {writer: (seen or 0) + 1}, after={writer: seen})
    return Replaced(True, fresh)


def refresh_sales(dsn: str, lake: Lake) -> tuple[Replaced, int]:
    """Join every sold detail with its item's version; returns the table and how many found none.

    Args:
        dsn: libpq connection string of a login that may read sales and their details.

    Raises:
        TableMissing: shop/dim_item is not there yet.
        ShopUnavailable, ShopRefused, CommitConflict.
    """
    versions = lake.collect(pl.scan_delta(lake.open(DIM_ITEM.name)), DIM_ITEM.name)
    with snapshot(dsn, "Reading the sales") as connection:
        details = sold_details(connection)
    done = replace_rows(lake, SALES_WITH_ITEMS, sales_with_items(details, versions))
    return done, done.frame["item_version"].null_count()


def read_sales(lake: Lake) -> pl.DataFrame:
    """The rows of shop/sales_with_items as they stand."""
    return lake.collect(pl.scan_delta(lake.open(SALES_WITH_ITEMS.name)), SALES_WITH_ITEMS.name)
