"""Gold: counts, bytes, reasons and latency per day and uploader group, recomputed for the days that changed.

Which days changed is told by the tables' logs alone: rows a day there, against what gold last counted. A day that was
purged from the lake keeps its figures, for they speak of nobody.

Limits: where a sealed image took the place of an unsealed row (resources/derived_tables.py) the count is the same, and
bytes and groups of that day are those of before until another image of the day comes.
"""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import bar_chart, markdown_table
from platform_assets.schema import asset_key, pool, table_asset
from resources.dagster_resources import KeysResource, LakeResource
from transforms.tables import DAILY_UPLOADS, PROCESSED_IMAGES, QUARANTINED_IMAGES

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

    from resources.lake import Lake

DAYS_SHOWN = 8
WRITER = "daily_uploads-writer"
"""Moved by every commit: of two that count a day for the first time at once, nothing else would make one conflict."""


@dg.multi_asset(
    name="daily_uploads",
    specs=[table_asset(DAILY_UPLOADS, deps=[asset_key(PROCESSED_IMAGES), asset_key(QUARANTINED_IMAGES)])],
    pool=pool(DAILY_UPLOADS),
    retry_policy=RETRY,
)
def daily_uploads(context: dg.AssetExecutionContext, lake: LakeResource, keys: KeysResource) -> dg.MaterializeResult:
    """Replace the rows of the days that changed since the last time."""
    started = time.monotonic()
    with told_to_dagster(context):
        tables = lake.open()
        days, rows = recompute(tables, datetime.now(UTC), keys.open().is_destroyed)
        facts, version = delta_facts(tables, DAILY_UPLOADS)
        totals = _totals(tables).sort("day", descending=True).head(DAYS_SHOWN)
    context.log.info("%d days changed, %d rows written", len(days), rows)
    shown = [
        (day.isoformat(), processed, quarantined, size, p50, p99)
        for day, processed, quarantined, size, p50, p99 in totals.select(
            "day", "processed", "quarantined", "bytes", "latency_p50_seconds", "latency_p99_seconds"
        ).iter_rows()
    ]
    return dg.MaterializeResult(
        asset_key=asset_key(DAILY_UPLOADS),
        metadata={
            "days recomputed": len(days),
            "rows written": rows,
            **facts,
            "days": markdown_table(["day", "processed", "quarantined", "bytes", "p50 s", "p99 s"], shown),
            "images a day": bar_chart("images developed a day", {day: float(count) for day, count, *_ in shown}),
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(version),
    )


def recompute(
    lake: "Lake", now: datetime, is_destroyed: Callable[[date], bool] = lambda day: False
) -> tuple[list[date], int]:
    """Recompute the days whose rows changed; returns them, and how many rows of gold were written.

    Days whose key is destroyed are left as they are: a purge, which begins with the key, takes their rows table by
    table, and half of them is no count.

    Raises:
        CommitConflict: another writer was first; running again looks again.
    """
    import polars as pl

    from transforms.gold import PROCESSED_COLUMNS, QUARANTINED_COLUMNS
    from transforms.gold import daily_uploads as fold

    handle = lake.ensure(DAILY_UPLOADS)
    # The handles are the snapshots: what is counted is what is read below, whoever writes meanwhile.
    processed, quarantined = lake.ensure(PROCESSED_IMAGES), lake.ensure(QUARANTINED_IMAGES)
    good, bad = rows_by_day(processed), rows_by_day(quarantined)
    counted = {day: (ok, no) for day, ok, no in _totals(lake).select("day", "processed", "quarantined").iter_rows()}
    changed = (day for day in good.keys() | bad.keys() if counted.get(day) != (good[day], bad[day]))
    days = sorted(day for day in changed if not is_destroyed(day))
    if not days:
        return [], 0
    chosen = pl.col("day").is_in(days)
    with lake.named(f"read tables {PROCESSED_IMAGES.name} and {QUARANTINED_IMAGES.name}"):
        rows = fold(
            pl.scan_delta(processed).filter(chosen).select(PROCESSED_COLUMNS),
            pl.scan_delta(quarantined).filter(chosen).select(QUARANTINED_COLUMNS),
            now,
        )
    writer = (lake.identifier(handle, WRITER) or 0) + 1
    lake.replace_days(handle, DAILY_UPLOADS, rows.to_arrow(), days, {WRITER: writer})
    return days, rows.height


def rows_by_day(handle: "DeltaTable") -> Counter[date]:
    """Rows of each day in the handle's version, from the log alone."""
    from resources.lake_log import file_table

    files = file_table(handle)
    counts: Counter[date] = Counter()
    for file in files.select(["partition.day", "num_records"]).to_pylist() if files.num_rows else ():
        counts[file["partition.day"]] += file["num_records"]
    return counts


def _totals(lake: "Lake") -> "pl.DataFrame":
    """Gold's rows over all uploaders."""
    import polars as pl

    from transforms.gold import ALL

    table = pl.scan_delta(lake.open(DAILY_UPLOADS.name))
    return lake.collect(table.filter(pl.col("uploader_group") == ALL), DAILY_UPLOADS.name)
