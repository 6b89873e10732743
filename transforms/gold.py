"""Gold: how a day's uploads went, per group of uploaders; counts and times only, no word of an image.

A pure fold over the two derived tables: the same rows give the same answer, in any order. An uploader in several groups
counts in each of them, so that groups do not add up to '(all)'.

Limits: a quarantined record whose envelope did not open has no groups, and stands under '(none)'.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from transforms.tables import DAILY_UPLOADS

ALL = "(all)"
NONE = "(none)"

PROCESSED_COLUMNS = ("day", "groups", "bytes", "near_duplicate_of", "appended_at", "processed_at")
"""Columns of processed_images that `daily_uploads` reads."""
QUARANTINED_COLUMNS = ("day", "groups", "reason")
"""Columns of quarantined_images that `daily_uploads` reads."""

_KEYS = ("day", "uploader_group")


def daily_uploads(
    processed: pl.DataFrame | pl.LazyFrame, quarantined: pl.DataFrame | pl.LazyFrame, computed_at: datetime
) -> pl.DataFrame:
    """Rows of `gold daily_uploads` for every day that the two tables hold.

    Args:
        processed: rows of processed_images with `PROCESSED_COLUMNS`, whole days.
        quarantined: rows of quarantined_images with `QUARANTINED_COLUMNS`, the same days.
        computed_at: when, with a zone.

    Returns:
        One row a day and group, plus '(all)' and, where there are such images, '(none)'; columns of `DAILY_UPLOADS` in
        order, sorted by day and group. Latency is null where nothing was developed.
    """
    latency = (pl.col("processed_at") - pl.col("appended_at")).dt.total_microseconds() / 1e6
    images = (
        _by_group(processed.lazy().select(PROCESSED_COLUMNS))
        .with_columns(latency=latency)
        .group_by(_KEYS)
        .agg(
            processed=pl.len().cast(pl.Int64),
            bytes=pl.col("bytes").sum(),
            near_duplicates=pl.col("near_duplicate_of").is_not_null().sum().cast(pl.Int64),
            latency_p50_seconds=pl.col("latency").quantile(0.5, "linear"),
            latency_p99_seconds=pl.col("latency").quantile(0.99, "linear"),
        )
    )
    reasons = (
        _by_group(quarantined.lazy().select(QUARANTINED_COLUMNS))
        .group_by(*_KEYS, "reason")
        .agg(records=pl.len().cast(pl.Int64))
        .sort("records", "reason", descending=[True, False])
        .group_by(_KEYS, maintain_order=True)
        .agg(quarantined=pl.col("records").sum(), reasons=pl.struct("reason", "records"))
    )
    joined = images.join(reasons, on=_KEYS, how="full", coalesce=True)
    counts = ("processed", "quarantined", "bytes", "near_duplicates")
    return (
        joined.with_columns(
            *(pl.col(name).fill_null(0) for name in counts),
            pl.col("reasons").fill_null([]),
            computed_at=pl.lit(computed_at).cast(pl.Datetime("us", "UTC")),
        )
        .select(DAILY_UPLOADS.schema.names)
        .sort(_KEYS)
        .collect()
    )


def _by_group(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Each row once for '(all)', and once for each of its groups or for '(none)'."""
    groups = pl.col("groups").fill_null([]).list.unique()
    one_each = rows.with_columns(
        uploader_group=pl.when(groups.list.len() > 0).then(groups).otherwise(pl.lit([NONE], dtype=pl.List(pl.String)))
    ).explode("uploader_group")
    everyone = rows.with_columns(uploader_group=pl.lit(ALL))
    return pl.concat([everyone, one_each], how="diagonal").drop("groups")
