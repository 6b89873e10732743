"""Keeps a Delta table quick: compacts small files, writes a checkpoint, removes files and log entries nobody needs.

Why: landing commits every few seconds, and opening a table, reading it and committing to it all cost more with each
small file and each log entry. Mechanism: delta-rs compaction (rows and their order stay, marked as no data change, so
it conflicts with no append), checkpoint, vacuum and log clean-up, in that order. It may be stopped anywhere and run
again.

Limits: files are removed a day after the last version that used them, the orphans of killed writers too; a reader that
holds a version for longer than a day fails. The log keeps `delta.logRetentionDuration`. No row is deleted here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transforms.tables import TableSpec

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from resources.lake import Lake

TARGET_BYTES = 256 * 1024 * 1024
"""Files are joined up to this size, which Databricks takes for tables under 2.5 TB too. Memory does not hang on it, for
readers have a row group in memory; an erasure writes a file of this size anew."""

KEEP_HOURS = 24


@dataclass(frozen=True)
class Upkeep:
    """What upkeep of one table did. Bytes are of the Parquet files in the current version."""

    table: str
    version: int
    files_before: int
    files_after: int
    bytes: int
    rows: int
    removed_files: int
    seconds: float


def maintain(
    lake: Lake, spec: TableSpec, keep_hours: int = KEEP_HOURS, target_bytes: int = TARGET_BYTES
) -> Upkeep | None:
    """Compact, checkpoint, vacuum and clean the log of one table; None where there is no such table yet.

    Args:
        lake: the lake.
        spec: the table.
        keep_hours: unreferenced files younger than this stay. Below the longest run, readers may fail.
        target_bytes: files are joined up to about this size.

    Raises:
        TransientFailure: the lake is away, or another writer was quicker; the next hour tries again.
    """
    from deltalake import PostCommitHookProperties, WriterProperties

    from resources.lake import TableMissing
    from resources.parquet_writer import ROW_GROUP_BYTES

    started = time.monotonic()
    try:
        handle = lake.open(spec.name)
    except TableMissing:
        return None
    with lake.named(f"keep up table {spec.name}"):
        files, size, rows = contents(handle)
        # Checkpoint and clean-up come below, once, and not after each commit of the compaction.
        quiet = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        if files > 1:
            group_rows = max(1, min(1_000_000, ROW_GROUP_BYTES * max(rows, 1) // max(size, 1)))
            handle.optimize.compact(
                target_size=target_bytes,
                # One bin at a time: memory is bounded by a file, not by the number of cores.
                max_concurrent_tasks=1,
                writer_properties=WriterProperties(
                    compression="ZSTD", compression_level=1, max_row_group_size=group_rows
                ),
                post_commithook_properties=quiet,
            )
        removed = handle.vacuum(
            retention_hours=keep_hours,
            dry_run=False,
            enforce_retention_duration=False,
            # Only a full listing finds the files of writers that were killed before their commit.
            full=True,
            post_commithook_properties=quiet,
        )
        handle.update_incremental()
        handle.create_checkpoint()
        handle.cleanup_metadata()
        after, size, rows = contents(handle)
    return Upkeep(
        table=spec.name,
        version=handle.version(),
        files_before=files,
        files_after=after,
        bytes=size,
        rows=rows,
        removed_files=len(removed),
        seconds=round(time.monotonic() - started, 3),
    )


def contents(handle: DeltaTable) -> tuple[int, int, int]:
    """Files, bytes and rows of the handle's version, from the log alone."""
    import pyarrow.compute as pc

    from resources.lake_log import file_table

    actions = file_table(handle)
    if actions.num_rows == 0:
        return 0, 0, 0
    size, rows = (pc.call_function("sum", [actions[name]]).as_py() or 0 for name in ("size_bytes", "num_records"))
    return actions.num_rows, int(size), int(rows)
