"""Checks of the events and of the dimension: complete, in order, no two versions at once, as PostgreSQL has them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.schema import asset_key
from platform_assets.table_checks import SCHEMA, schema_result
from resources.dagster_resources import LakeResource, ShopResource
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

if TYPE_CHECKING:
    import polars as pl

    from resources.lake import Lake

NUMBERED = "numbered_without_gaps"
IN_TIME = "captured_in_time"
ONE_CURRENT = "one_current_version"
NO_OVERLAP = "no_two_versions_at_once"
NO_GAP = "no_gap_without_a_delete"
AS_POSTGRES = "as_postgresql_has_it"
LATE = timedelta(minutes=15)
"""A change that waits for longer is said."""


@dg.multi_asset_check(
    name="item_events_checks",
    specs=[
        dg.AssetCheckSpec(
            SCHEMA, asset=asset_key(ITEM_EVENTS), description="Columns, types and partitions are those specified."
        ),
        dg.AssetCheckSpec(
            NUMBERED,
            asset=asset_key(ITEM_EVENTS),
            description="Events are numbered without gaps, and none stands twice.",
        ),
        dg.AssetCheckSpec(
            IN_TIME,
            asset=asset_key(ITEM_EVENTS),
            description=f"No change of an item waits to be captured for more than {LATE.seconds // 60} minutes.",
        ),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def item_events_checks(
    context: dg.AssetCheckExecutionContext, shop: ShopResource, lake: LakeResource
) -> Iterator[dg.AssetCheckResult]:
    """The log against its promises."""
    with told_to_dagster(context):
        tables = lake.open()
        for key in context.selected_asset_check_keys:
            if key.name == SCHEMA:
                yield schema_result(tables, ITEM_EVENTS)
            elif key.name == NUMBERED:
                yield _numbered(tables)
            else:
                yield _in_time(shop.dsn(), tables, datetime.now(UTC))


@dg.multi_asset_check(
    name="dim_item_checks",
    specs=[
        dg.AssetCheckSpec(
            SCHEMA, asset=asset_key(DIM_ITEM), description="Columns, types and partitions are those specified."
        ),
        dg.AssetCheckSpec(
            ONE_CURRENT,
            asset=asset_key(DIM_ITEM),
            description="No item has two current versions, and current_flag is true exactly where end_date is null.",
        ),
        dg.AssetCheckSpec(
            NO_OVERLAP, asset=asset_key(DIM_ITEM), description="Of no item two versions hold at one instant."
        ),
        dg.AssetCheckSpec(
            NO_GAP,
            asset=asset_key(DIM_ITEM),
            description="A version ends where the next begins or the item was deleted.",
        ),
        dg.AssetCheckSpec(
            AS_POSTGRES,
            asset=asset_key(DIM_ITEM),
            description="The versions are those of PostgreSQL, but for items that changed since they were captured.",
        ),
    ],
    can_subset=True,
    retry_policy=RETRY,
)
def dim_item_checks(
    context: dg.AssetCheckExecutionContext, shop: ShopResource, lake: LakeResource
) -> Iterator[dg.AssetCheckResult]:
    """The dimension against its promises, and against the database."""
    from resources.event_log import EventLog
    from transforms.scd2_verify import faults
    from transforms.shop_changes import KEY

    with told_to_dagster(context):
        tables = lake.open()
        versions = read_versions(tables)
        found = faults(versions, EventLog(tables, ITEM_EVENTS).read().select("item_id", "op", "ts"), KEY)
        for key in context.selected_asset_check_keys:
            if key.name == SCHEMA:
                yield schema_result(tables, DIM_ITEM)
            elif key.name == AS_POSTGRES:
                yield _as_postgres(shop.dsn(), tables, versions)
            else:
                counts = {
                    ONE_CURRENT: {"items with two": found.not_one_current, "wrong flags": found.flags},
                    NO_OVERLAP: {"overlaps": found.overlaps, "empty intervals": found.empty},
                    NO_GAP: {"gaps without a delete": found.gaps},
                }[key.name]
                yield dg.AssetCheckResult(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=not any(counts.values()),
                    metadata={"versions": versions.height, **counts},
                )


def read_versions(lake: "Lake") -> "pl.DataFrame":
    """The dimension's rows as they stand."""
    import polars as pl

    return lake.collect(pl.scan_delta(lake.open(DIM_ITEM.name)), DIM_ITEM.name)


def _numbered(lake: "Lake") -> dg.AssetCheckResult:
    import polars as pl

    from resources.event_log import EventLog

    log = EventLog(lake, ITEM_EVENTS)
    asked = [
        pl.len().alias("rows"),
        pl.col("arrival").n_unique().alias("distinct"),
        pl.col("arrival").min().alias("first"),
        pl.col("arrival").max().alias("last"),
    ]
    rows, distinct, first, last = log.collect(log.scan().select(asked)).row(0)
    whole = rows == 0 or (rows == distinct == last - first + 1 and last == log.rows - 1)
    return dg.AssetCheckResult(
        asset_key=asset_key(ITEM_EVENTS),
        check_name=NUMBERED,
        passed=whole,
        metadata={"events": rows, "distinct numbers": distinct, "ever taken in": log.rows},
    )


def _in_time(dsn: str, lake: "Lake", now: datetime) -> dg.AssetCheckResult:
    from resources.shop_capture import waiting

    found = waiting(dsn, lake)
    age = now - found.since if found.since else timedelta()
    metadata: dict[str, int | float | str] = {
        "changes to capture": found.ready,
        "changes held back by an open transaction": found.held_back,
        "minutes the first one waits": round(age.total_seconds() / 60, 1),
    }
    if age > LATE and found.held_back and not found.ready:
        metadata["what to do"] = "Look in pg_stat_activity for the transaction that stays open, and end it."
    return dg.AssetCheckResult(
        asset_key=asset_key(ITEM_EVENTS),
        check_name=IN_TIME,
        passed=age <= LATE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def _as_postgres(dsn: str, lake: "Lake", versions: "pl.DataFrame") -> dg.AssetCheckResult:
    import polars as pl

    from resources.shop_capture import changed_since_captured
    from resources.shop_reading import item_versions, snapshot
    from transforms.scd2 import changes, fold
    from transforms.shop_changes import KEY, events_of_versions

    with snapshot(dsn, "Comparing the versions of items") as connection:
        moved = changed_since_captured(connection, lake)
        # Folded too: two versions with the same values, as a load may bring them, are one.
        theirs = fold(events_of_versions(item_versions(connection)).select("item_id", *_COMPARED), KEY)
    left_out = pl.col("item_id").is_in(moved.implode())
    more, missing = changes(versions.filter(~left_out), theirs.filter(~left_out), KEY)
    return dg.AssetCheckResult(
        asset_key=asset_key(DIM_ITEM),
        check_name=AS_POSTGRES,
        passed=not more.height and not missing.height,
        metadata={
            "versions": versions.height,
            "only in the dimension": more.height,
            "only in PostgreSQL": missing.height,
            "items that changed meanwhile, left out": moved.len(),
        },
    )


_COMPARED = ("name", "manufacturer", "cost", "weight_kg", "op", "ts", "seq")
