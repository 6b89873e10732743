"""shop/item_events and shop/dim_item: every change of an item, exactly once, and the versions that they fold to."""

from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import bar_chart, markdown_table
from platform_assets.schema import asset_key, pool, table_asset
from platform_assets.shop.sources import SHOP, source_key
from resources.dagster_resources import LakeResource, ShopResource
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

if TYPE_CHECKING:
    from resources.event_log import EventLog
    from resources.lake import Lake
    from resources.version_table import VersionTable

HELD_BACK = "changes held back"
HELD_SINCE = "held back since"
SHOWN = 5
MOST_VERSIONS = 6
"""Items with so many versions or more are one bar."""


@dg.multi_asset(
    name="item_events",
    specs=[table_asset(ITEM_EVENTS, deps=[source_key("items")], tags=SHOP)],
    pool=pool(ITEM_EVENTS),
    retry_policy=RETRY,
)
def item_events(context: dg.AssetExecutionContext, shop: ShopResource, lake: LakeResource) -> dg.MaterializeResult:
    """Take in what the database has recorded since the last time."""
    from resources.event_log import EventLog
    from resources.shop_capture import capture

    with told_to_dagster(context):
        tables = lake.open()
        done = capture(
            shop.dsn(),
            tables,
            lambda changes, events: context.log.info("captured %d changes as %d events", changes, events),
        )
        facts, version = delta_facts(tables, ITEM_EVENTS)
        newest = _newest(EventLog(tables, ITEM_EVENTS))
    return dg.MaterializeResult(
        asset_key=asset_key(ITEM_EVENTS),
        metadata={
            "changes captured": done.changes,
            "events written": done.events,
            "commits": done.commits,
            HELD_BACK: done.held_back,
            HELD_SINCE: done.held_back_since.isoformat(" ", "seconds") if done.held_back_since else "none",
            **facts,
            "newest": newest,
        },
        data_version=dg.DataVersion(version),
    )


class DimItemConfig(dg.Config):
    """How to make the dimension: from what came since the last time, or from all events."""

    rebuild: bool = False
    """Fold every event anew and replace all versions; the result is the same."""


@dg.multi_asset(
    name="dim_item",
    specs=[table_asset(DIM_ITEM, deps=[asset_key(ITEM_EVENTS)], tags=SHOP)],
    pool=pool(DIM_ITEM),
    retry_policy=RETRY,
)
def dim_item(context: dg.AssetExecutionContext, config: DimItemConfig, lake: LakeResource) -> dg.MaterializeResult:
    """Fold the new events into the versions."""
    import polars as pl

    with told_to_dagster(context):
        tables = lake.open()
        table = open_versions(tables)
        done = table.rebuild() if config.rebuild else table.refresh()
        facts, version = delta_facts(tables, DIM_ITEM)
        of_each = (
            pl.scan_delta(tables.open(DIM_ITEM.name))
            .group_by("item_id")
            .agg(versions=pl.len().clip(upper_bound=MOST_VERSIONS), current=pl.col("current_flag").any())
        )
        spread = tables.collect(of_each, DIM_ITEM.name)
    counted = spread.group_by("versions").len().sort("versions")
    return dg.MaterializeResult(
        asset_key=asset_key(DIM_ITEM),
        metadata={
            "events folded": done.events,
            "events rejected": done.rejected,
            "items touched": done.keys,
            "items folded anew for late events": done.late,
            "versions taken away": done.versions_gone,
            "versions brought": done.versions_new,
            "files rewritten": done.files_rewritten,
            "built anew": done.rebuilt,
            "items ever": spread.height,
            "items now": int(spread["current"].sum()),
            **facts,
            "versions an item": bar_chart(
                "items by their number of versions",
                {
                    f"{versions}{' or more' if versions == MOST_VERSIONS else ''}": float(items)
                    for versions, items in counted.iter_rows()
                },
            ),
        },
        data_version=dg.DataVersion(version),
    )


def open_versions(lake: "Lake") -> "VersionTable":
    """The dimension, following the log as it is now."""
    from resources.event_log import open_log
    from resources.version_table import VersionTable
    from transforms.shop_changes import KEY

    return VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY)


def _newest(log: "EventLog") -> dg.MarkdownMetadataValue:
    import polars as pl

    rows = log.read(pl.col("arrival") >= log.rows - SHOWN).sort("arrival", descending=True)
    return markdown_table(
        ["item", "what", "from", "name", "cost"],
        [
            (item, op, ts.isoformat(" ", "seconds"), name, cost)
            for item, op, ts, name, cost in rows.select("item_id", "op", "ts", "name", "cost").iter_rows()
        ],
    )
