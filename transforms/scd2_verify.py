"""What must hold of every history, whoever wrote it, as counts of what does not. Conventions: docs/scd2.md. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from transforms.scd2_frames import DELETE, event_frame, history_frame, numbered, parts_of


@dataclass(frozen=True)
class Faults:
    """How often a history breaks a rule; all zero for a good one.

    Args:
        not_one_current: items with more than one current version.
        flags: versions whose current_flag is not exactly where end_date is null.
        empty: versions that end at or before they begin.
        overlaps: versions that begin before the one before them ends.
        gaps: versions that end where neither the next begins nor an event deletes the item.
    """

    not_one_current: int
    flags: int
    empty: int
    overlaps: int
    gaps: int


def faults(history: pl.DataFrame, events: pl.DataFrame, key: Sequence[str]) -> Faults:
    """Count what is wrong with a history.

    Args:
        history: what `fold` gives, in any order.
        events: of the same items.
        key: columns that identify an item.

    Raises:
        ValueError: a column is missing or of a wrong type.
    """
    parts = parts_of(key)
    versions = (
        history_frame(history, key)
        .select(*numbered(key), start="effective_date", end="end_date", current="current_flag")
        .sort(*parts, "start")
        .with_columns(following=pl.col("start").shift(-1).over(parts), last=pl.col("end").shift(1).over(parts))
        .with_columns(first=pl.col("start") == pl.col("start").first().over(parts))
    )
    deleted = event_frame(events, key).filter(pl.col("op") == DELETE).select(*numbered(key), end="ts").unique()
    current = versions.filter("current").group_by(parts).len().filter(pl.col("len") > 1)
    ended = versions.filter(pl.col("end").is_not_null(), pl.col("end").ne_missing(pl.col("following")))
    return Faults(
        not_one_current=current.height,
        flags=versions.filter(pl.col("current") != pl.col("end").is_null()).height,
        empty=versions.filter(pl.col("end") <= pl.col("start")).height,
        overlaps=versions.filter(
            ~pl.col("first") & (pl.col("last").is_null() | (pl.col("last") > pl.col("start")))
        ).height,
        gaps=ended.join(deleted, on=[*parts, "end"], how="anti").height,
    )
