"""The checks that every table of rows with a key has: columns as specified, and no key twice.

One step a table; each check can be run alone in the UI. Keys stay out of the event log: counts only.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import markdown_table
from platform_assets.schema import asset_key
from resources.dagster_resources import LakeResource
from transforms.tables import TableSpec

if TYPE_CHECKING:
    from deltalake import Field

    from resources.lake import Lake

ONE_ROW = "one_row_per_image"
SCHEMA = "schema_as_specified"


def table_checks(spec: TableSpec, unique: Sequence[str]) -> dg.AssetChecksDefinition:
    """The checks of one table, whose rows are told apart by the columns `unique`."""

    @dg.multi_asset_check(
        name=f"{spec.name.split('/')[-1]}_checks",
        specs=[
            schema_spec(spec),
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


def schema_spec(spec: TableSpec) -> dg.AssetCheckSpec:
    """The check that `schema_result` answers."""
    return dg.AssetCheckSpec(
        SCHEMA,
        asset=asset_key(spec),
        description="Columns, types, partitions and day partitioning are those specified.",
    )


def schema_result(lake: "Lake", spec: TableSpec) -> dg.AssetCheckResult:
    """The table's columns as stored against `spec`."""
    from deltalake import Schema

    handle = lake.open(spec.name)
    expected = {(field.name, _type_of(field)) for field in Schema.from_arrow(spec.schema).fields}
    found = {(field.name, _type_of(field)) for field in handle.schema().fields}
    partitions = tuple(handle.metadata().partition_columns)
    rows = [("only in the table", name, kind) for name, kind in sorted(found - expected)]
    rows += [("only specified", name, kind) for name, kind in sorted(expected - found)]
    if partitions != spec.partition_by:
        rows.append(("partitioned by", ", ".join(partitions), f"specified: {', '.join(spec.partition_by)}"))
    return dg.AssetCheckResult(
        asset_key=asset_key(spec),
        check_name=SCHEMA,
        passed=not rows,
        metadata={"columns": len(found), "differences": markdown_table(["where", "column", "type"], rows)},
    )


def _type_of(field: "Field") -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def unique_result(
    lake: "Lake", spec: TableSpec, unique: Sequence[str], name: str = ONE_ROW, distinct: str = "distinct"
) -> dg.AssetCheckResult:
    """No key twice.

    Args:
        unique: the columns of the key.
        name: of the check.
        distinct: what keys are called where their number is shown.
    """
    import polars as pl

    table = pl.scan_delta(lake.open(spec.name)).select(pl.len().alias("rows"), pl.struct(unique).n_unique().alias("n"))
    rows, keys = lake.collect(table, spec.name).row(0)
    return dg.AssetCheckResult(
        asset_key=asset_key(spec),
        check_name=name,
        passed=rows == keys,
        metadata={"rows": rows, distinct: keys, "rows too many": rows - keys},
    )
