"""The insights: sales with their items as they were, the members who spend most, the items most bought.

Members are named by their number: names and addresses are read by nobody here, and the event log lives for ever.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import bar_chart, markdown_table
from platform_assets.schema import asset_key, pool, table_asset
from platform_assets.shop.sources import SHOP, source_key
from platform_assets.table_checks import SCHEMA, schema_result, unique_result
from resources.dagster_resources import LakeResource, ShopResource
from transforms.shop_tables import DIM_ITEM, SALES_WITH_ITEMS, TOP_ITEMS, TOP_MEMBERS

if TYPE_CHECKING:
    from resources.lake import Lake
    from resources.shop_insights import Replaced

EVERY_ITEM = "every_sale_has_its_item"
ONE_ROW = "one_row_per_key"
KEYS = (
    (SALES_WITH_ITEMS, ("sale_id", "item_id")),
    (TOP_MEMBERS, ("window", "rank")),
    (TOP_ITEMS, ("window", "rank")),
)


@dg.multi_asset(
    name="sales_with_items",
    specs=[
        table_asset(
            SALES_WITH_ITEMS,
            deps=[asset_key(DIM_ITEM), source_key("sales"), source_key("sales_details")],
            tags=SHOP,
        )
    ],
    pool=pool(SALES_WITH_ITEMS),
    retry_policy=RETRY,
)
def sales_with_items(context: dg.AssetExecutionContext, shop: ShopResource, lake: LakeResource) -> dg.MaterializeResult:
    """Join every detail with the item's version of its time."""
    import polars as pl

    from resources.shop_insights import refresh_sales

    with told_to_dagster(context):
        tables = lake.open()
        done, unmatched = refresh_sales(shop.dsn(), tables)
        facts, version = delta_facts(tables, SALES_WITH_ITEMS)
    by_status = done.frame.group_by("status").agg(pl.col("sale_id").n_unique())
    return dg.MaterializeResult(
        asset_key=asset_key(SALES_WITH_ITEMS),
        metadata={
            "written": done.written,
            "sales": done.frame["sale_id"].n_unique(),
            "details without a known item": unmatched,
            **facts,
            "sales by status": bar_chart("sales by status", {name: float(n) for name, n in by_status.iter_rows()}),
        },
        data_version=dg.DataVersion(version),
    )


@dg.multi_asset(
    name="top_members",
    specs=[
        table_asset(TOP_MEMBERS, deps=[asset_key(SALES_WITH_ITEMS), source_key("members")], tags=SHOP),
    ],
    pool=pool(TOP_MEMBERS),
    retry_policy=RETRY,
)
def top_members(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """The ten members who spent most, for each stretch of time."""
    from resources.shop_insights import read_sales, replace_rows
    from transforms.shop import top_members as ranked

    with told_to_dagster(context):
        tables = lake.open()
        done = replace_rows(tables, TOP_MEMBERS, ranked(read_sales(tables)))
        facts, version = delta_facts(tables, TOP_MEMBERS)
    return dg.MaterializeResult(
        asset_key=asset_key(TOP_MEMBERS),
        metadata={"written": done.written, **facts, **_pictures(done, "membership_id", "spent", "spent")},
        data_version=dg.DataVersion(version),
    )


@dg.multi_asset(
    name="top_items",
    specs=[table_asset(TOP_ITEMS, deps=[asset_key(SALES_WITH_ITEMS)], tags=SHOP)],
    pool=pool(TOP_ITEMS),
    retry_policy=RETRY,
)
def top_items(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """The three items most bought, for each stretch of time."""
    from resources.shop_insights import read_sales, replace_rows
    from transforms.shop import top_items as ranked

    with told_to_dagster(context):
        tables = lake.open()
        done = replace_rows(tables, TOP_ITEMS, ranked(read_sales(tables)))
        facts, version = delta_facts(tables, TOP_ITEMS)
    names = markdown_table(
        ["stretch", "rank", "item", "name", "pieces", "amount"],
        done.frame.select("window", "rank", "item_id", "name", "pieces", "amount").rows(),
    )
    return dg.MaterializeResult(
        asset_key=asset_key(TOP_ITEMS),
        metadata={"written": done.written, **facts, **_pictures(done, "item_id", "pieces", "pieces"), "items": names},
        data_version=dg.DataVersion(version),
    )


@dg.multi_asset_check(
    name="insight_checks",
    specs=[
        *(
            dg.AssetCheckSpec(name, asset=asset_key(spec), description=description)
            for spec, unique in KEYS
            for name, description in (
                (SCHEMA, "Columns, types and partitions are those specified."),
                (ONE_ROW, f"No two rows have the same {', '.join(unique)}."),
            )
        ),
        dg.AssetCheckSpec(
            EVERY_ITEM,
            asset=asset_key(SALES_WITH_ITEMS),
            description="Every detail of a sale found the item that it was made with.",
        ),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def insight_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
    """The insights' tables against their specification."""
    with told_to_dagster(context):
        tables = lake.open()
        specs = {asset_key(spec): (spec, unique) for spec, unique in KEYS}
        for key in context.selected_asset_check_keys:
            spec, unique = specs[key.asset_key]
            if key.name == SCHEMA:
                yield schema_result(tables, spec)
            elif key.name == ONE_ROW:
                yield unique_result(tables, spec, unique, ONE_ROW)
            else:
                yield _every_item(tables)


def _every_item(lake: "Lake") -> dg.AssetCheckResult:
    from resources.shop_insights import read_sales

    sales = read_sales(lake)
    without = sales["item_version"].null_count()
    return dg.AssetCheckResult(
        asset_key=asset_key(SALES_WITH_ITEMS),
        check_name=EVERY_ITEM,
        passed=without == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"details": sales.height, "without a known item": without},
    )


def _pictures(done: "Replaced", who: str, value: str, unit: str) -> dict[str, dg.MarkdownMetadataValue]:
    """A bar chart for each stretch of time."""
    import polars as pl

    frame: pl.DataFrame = done.frame
    return {
        f"{unit}, {window}": bar_chart(
            f"{unit}, {window}",
            dict(frame.filter(pl.col("window") == window)[[who, value]].iter_rows()),
        )
        for window in frame["window"].unique(maintain_order=True)
    }
