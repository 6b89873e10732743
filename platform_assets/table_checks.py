"""The checks that every table of rows with a key has: columns as specified, and no key twice.

One step a table; each check can be run alone in the UI. Keys stay out of the event log: counts only.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.checks import ONE_ROW, SCHEMA, schema_result
from platform_assets.schema import asset_key
from resources.dagster_resources import LakeResource
from transforms.tables import TableSpec

if TYPE_CHECKING:
    from resources.lake import Lake


def table_checks(spec: TableSpec, unique: Sequence[str]) -> dg.AssetChecksDefinition:
    """The checks of one table, whose rows are told apart by the columns `unique`."""

    @dg.multi_asset_check(
        name=f"{spec.name.split('/')[-1]}_checks",
        specs=[
            dg.AssetCheckSpec(
                SCHEMA,
                asset=asset_key(spec),
                description="Columns, types, partitions and day partitioning are those specified.",
            ),
            dg.AssetCheckSpec(
                ONE_ROW, asset=asset_key(spec), description=f"No two rows have the same {', '.join(unique)}."
            ),
        ],
        can_subset=True,
        retry_policy=RETRY,
    )
    def checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        with told_to_dagster(context):
            tables = lake.open()
            for key in context.selected_asset_check_keys:
                yield schema_result(tables, spec) if key.name == SCHEMA else unique_result(tables, spec, unique)

    return checks


def unique_result(lake: "Lake", spec: TableSpec, unique: Sequence[str], name: str = ONE_ROW) -> dg.AssetCheckResult:
    """No key twice."""
    import polars as pl

    table = pl.scan_delta(lake.open(spec.name)).select(pl.len().alias("rows"), pl.struct(unique).n_unique().alias("n"))
    rows, distinct = table.collect().row(0)
    return dg.AssetCheckResult(
        asset_key=asset_key(spec),
        check_name=name,
        passed=rows == distinct,
        metadata={"rows": rows, "distinct": distinct, "rows too many": rows - distinct},
    )
