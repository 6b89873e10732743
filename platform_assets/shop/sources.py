"""The four tables of the shop's database as observed sources: they are the shop's to change, and are watched.

The sensor `shop_changes` reports the same numbers when they move; observing by hand, in the UI, reads them now.
"""

from collections.abc import Iterator

import dagster as dg

from platform_assets.failing import told_to_dagster
from platform_assets.schema import OWNERS
from resources.dagster_resources import ShopResource

SHOP = {"darkroom/lane": "shop"}
"""Tag of the assets that are made from the shop's database."""

DESCRIPTIONS = {
    "items": "The current items, in PostgreSQL; through it they are changed, and none loses a version.",
    "members": "Who buys: number, status, since when. Names and addresses stand elsewhere, and no asset reads them.",
    "sales": "What was sold to whom and when, its totals and its status.",
    "sales_details": "Which items a sale is of, how many, and at which price.",
}


def source_key(table: str) -> dg.AssetKey:
    """The asset key of one of the tables."""
    return dg.AssetKey(["shop", table])


@dg.multi_observable_source_asset(
    name="shop_tables",
    specs=[
        dg.AssetSpec(
            source_key(table),
            description=description,
            group_name="shop",
            owners=list(OWNERS),
            kinds={"postgres"},
            tags=SHOP,
        )
        for table, description in DESCRIPTIONS.items()
    ],
)
def shop_tables(context: dg.AssetExecutionContext, shop: ShopResource) -> Iterator[dg.ObserveResult]:
    """Count the rows, and name the last recorded change."""
    from resources.shop_reading import counts, snapshot

    with told_to_dagster(context), snapshot(shop.dsn(), "Counting the shop's rows") as connection:
        found = counts(connection)
    for table, (rows, mark) in found.items():
        yield dg.ObserveResult(
            asset_key=source_key(table),
            metadata={"dagster/row_count": rows, "last change": mark},
            data_version=dg.DataVersion(mark),
        )
