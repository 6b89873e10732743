"""What bronze holds that is still to be developed: which partitions, up to which offset, how many records.

Mechanism: landing's transaction identifiers say how far each partition has landed; they cannot be listed, so that the
statistics of bronze's files say which partitions there are to ask for; where compaction joined several topics into
one file, its statistics name only the first and the last of them, and the rows are asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from resources.lake import Lake
from resources.lake_log import file_table
from transforms.landing_protocol import Position
from transforms.table_spec import TableSpec
from transforms.tables import RAW_IMAGES


def landed_positions(lake: Lake, bronze: DeltaTable, spec: TableSpec = RAW_IMAGES) -> dict[Position, int]:
    """The last offset landed by partition, of every topic id whose rows bronze still holds, from one snapshot.

    Args:
        bronze: the snapshot, of the table `spec`.
    """
    landed = {at: lake.identifier(bronze, at.app_id) for at in sorted(_sources(lake, bronze, spec))}
    return {at: last for at, last in landed.items() if last is not None}


def _sources(lake: Lake, bronze: DeltaTable, spec: TableSpec) -> set[Position]:
    """Partitions that bronze holds rows of; perhaps some more, where a file's statistics span several."""
    files = file_table(bronze)
    names = ("topic", "topic_id", "partition")
    ends = [f"{end}.{name}" for name in names for end in ("min", "max")]
    told = files.select(ends) if set(ends) <= set(files.column_names) else None
    if told is None or any(column.null_count for column in told.columns) or _mixed(told):
        # A file without statistics, by another writer's hand, or of several topics: the rows themselves say.
        rows = lake.collect(pl.scan_delta(bronze).select(names).unique(), spec.name)
        return {Position(topic, partition, topic_id) for topic, topic_id, partition in rows.iter_rows()}
    return {
        Position(row["min.topic"], partition, row["min.topic_id"])
        for row in told.to_pylist()
        for partition in range(row["min.partition"], row["max.partition"] + 1)
    }


def _mixed(told: pa.Table) -> bool:
    """Whether a file holds rows of more than one topic, or of one that was made anew."""
    return any(told[f"min.{name}"].to_pylist() != told[f"max.{name}"].to_pylist() for name in ("topic", "topic_id"))


def records_behind(lake: Lake, bronze: DeltaTable, behind: Mapping[Position, int]) -> int:
    """Records of bronze beyond the offsets given."""
    rows = pl.scan_delta(bronze)
    conditions = [
        (pl.col("topic") == at.topic)
        & (pl.col("topic_id") == at.topic_id)
        & (pl.col("partition") == at.partition)
        & (pl.col("offset") > offset)
        for at, offset in behind.items()
    ]
    counted = rows.filter(pl.any_horizontal(conditions)).select(pl.len())
    return lake.collect(counted, RAW_IMAGES.name).item()
