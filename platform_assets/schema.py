"""One table specification, told to Dagster: columns, kinds, owners and where the table stands.

The columns come from `transforms.tables`, which also creates the tables, so that the catalogue cannot say something
else than the lake.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from resources.pools import pool
from transforms.tables import TableSpec

__all__ = ["LEARNING", "LIVE", "OWNERS", "asset_key", "column_schema", "pool", "table_asset"]

OWNERS = ("team:platform",)

LIVE = {"darkroom/lane": "live"}
"""Tag of the assets that the live lane carries from the topic to developed images."""

LEARNING = {"darkroom/lane": "learning"}
"""Tag of the assets that are made when a model is trained, or scores."""


def asset_key(spec: TableSpec) -> dg.AssetKey:
    """The asset key of a table: its name under the lake's root."""
    return dg.AssetKey(spec.name.split("/"))


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """Columns with types and descriptions; sealed ones say so by tag, keys of days and rows by constraint."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=(field.metadata or {}).get(b"comment", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
                tags={"sealed": ""} if field.name in spec.sealed else {},
            )
            for field in spec.schema
        ],
        constraints=dg.TableConstraints(
            other=[
                f"partitioned on disk by {', '.join(spec.partition_by)}",
                *([f"sealed under the image's data key: {', '.join(spec.sealed)}"] if spec.sealed else []),
            ]
        ),
    )


def table_asset(
    spec: TableSpec, deps: Sequence[dg.AssetKey], *, tags: Mapping[str, str] = LIVE, fresh_hours: int = 24, **more: Any
) -> dg.AssetSpec:
    """The asset of one Delta table, with everything a catalogue reader looks for.

    Args:
        tags: which lane makes it.
        fresh_hours: older than this is red, older than half of it a warning. The live lane runs at least every six
            hours, with nothing new too: see sensors/kafka_offsets.py.
    """
    group = spec.name.split("/")[0]
    metadata: Mapping[str, Any] = {
        "dagster/column_schema": column_schema(spec),
        "dagster/table_name": spec.name,
        "dagster/storage_kind": "deltalake",
    }
    return dg.AssetSpec(
        asset_key(spec),
        deps=list(deps),
        description=spec.description,
        group_name=group,
        owners=list(OWNERS),
        kinds={"delta"},
        metadata=metadata,
        tags=dict(tags),
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=fresh_hours), warn_window=timedelta(hours=fresh_hours // 2)
        ),
        **more,
    )
