"""What one table of the lake is, as data: `TableSpec`, and the column of its schema with a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TableSpec:
    """One Delta table: its name under the lake's root, Arrow schema, partitions, sealed columns and properties."""

    name: str
    description: str
    schema: pa.Schema
    statistics: tuple[str, ...]
    sealed: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ("day",)
    incompressible: tuple[str, ...] = ()
    """Columns whose bytes are ciphertext or compressed already; the sealed ones are so anyway."""
    row_group_by: str | None = None
    """32-bit integer column whose every value gets its own row groups, so that readers of one value skip the others."""
    properties: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)
    """SQL conditions that every row fulfils, by name; in the words that Spark, DataFusion and Polars share. A
    column that may be null says so itself. Another condition under the same name does not replace the old one."""

    def configuration(self) -> dict[str, str]:
        """Delta table properties, statistics columns included."""
        return {
            # Partition columns need none, and other engines refuse them here.
            "delta.dataSkippingStatsColumns": ",".join(c for c in self.statistics if c not in self.partition_by),
            "delta.enableDeletionVectors": "false",
            "delta.checkpointInterval": "20",
            # A commit every few seconds makes thousands of log entries a day; opening lists those that are kept.
            "delta.logRetentionDuration": "interval 3 days",
            **self.properties,
        }


def column(name: str, kind: pa.DataType, description: str, nullable: bool = True) -> pa.Field:
    """A field of a schema; the description goes into its metadata, and from there into Dagster's catalogue."""
    return pa.field(name, kind, nullable=nullable, metadata={"comment": description})
