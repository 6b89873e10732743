"""Questions to a history: what held at an instant, which version a fact was made with, what a refold changed.

Intervals are half-open, so that at most one version of a key holds at an instant: a join gives each fact once.
Conventions: docs/scd2.md. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from transforms.scd2_frames import (
    history_frame,
    instant,
    instants,
    key_columns,
    need,
    numbered,
    parts_of,
    refuse_names,
    same_key_types,
    stacked,
)


def as_of(history: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """The versions that held at `at`: effective_date <= at < end_date, at most one a key; all columns of the history.

    Raises:
        ValueError: `at` has no zone, or the history lacks its dates.
    """
    need(history, ("effective_date", "end_date"), "History rows")
    start, end = instants(history["effective_date"]), instants(history["end_date"])
    moment = instant(at)
    held = pl.select((pl.lit(start) <= moment) & (pl.lit(end).is_null() | (pl.lit(end) > moment))).to_series()
    return history.filter(held)


def join_as_of(facts: pl.DataFrame, history: pl.DataFrame, key: Sequence[str], at: str) -> pl.DataFrame:
    """Each fact with the version of its item that held at the fact's instant.

    Args:
        facts: any rows with the key's columns and an instant.
        history: what `fold` gives; no two versions of a key overlap.
        key: columns that identify an item, of the same types on both sides.
        at: the facts' column with the instant, with a zone.

    Returns:
        The facts, each once and in their order, with the history's columns behind theirs. Those are null where no
        version held: before the first, in a gap, after a delete, for an unknown or null key, for no instant.

    Raises:
        ValueError: a column is missing, of another type, or stands on both sides; instants without a zone.
    """
    history = history_frame(history, key)
    key = key_columns(key, facts, "Facts")
    need(facts, (at,), "Facts")
    columns = [name for name in history.columns if name not in key]
    refuse_names(facts.columns, columns, "Facts")
    same_key_types(facts, history, key, "facts and history")
    versions = history.select(*numbered(key), start="effective_date", version=pl.int_range(pl.len(), dtype=pl.UInt32))
    asked = facts.select(*numbered(key), at=instants(facts[at]), fact=pl.int_range(pl.len(), dtype=pl.UInt32))
    found = (
        asked.filter(pl.col("at").is_not_null())
        .sort("at")
        # Both are sorted by time as a whole, and so within every key; polars checks that only without `by`.
        .join_asof(versions.sort("start"), left_on="at", right_on="start", by=parts_of(key), check_sortedness=False)
        .filter(pl.col("version").is_not_null())
    )
    end = history["end_date"].gather(found["version"])
    found = found.filter((end > found["at"]).fill_null(True)).select("fact", "version")
    version = asked.select("fact").join(found, on="fact", how="left", maintain_order="left")["version"]
    return facts.with_columns(history[name].gather(version) for name in columns)


def changes(before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that a refold took away and those that it brought: all that a table of versions has to rewrite.

    Args:
        before: history rows of the touched keys as they stand.
        after: what those keys' events fold to now.
        key: columns that identify an item.

    Returns:
        Rows of `before` that are not in `after`, and rows of `after` that are not in `before`; a version that was
        closed is in both. Columns are those of both, null where one lacked them. Both are empty when nothing changed.
    """
    both = stacked([history_frame(before, key), history_frame(after, key)])
    identity = both.select(*numbered(key), start="effective_date", row=pl.int_range(pl.len(), dtype=pl.UInt32))
    pairs = identity.head(before.height).join(
        identity.tail(after.height), on=[*parts_of(key), "start"], how="inner", suffix="_after"
    )
    same = pl.repeat(True, pairs.height, eager=True)
    for name in both.columns:
        same &= both[name].gather(pairs["row"]).eq_missing(both[name].gather(pairs["row_after"]))
    kept = pairs.filter(same)
    differs = ~identity["row"].is_in(pl.concat([kept["row"], kept["row_after"]]).implode())
    old = identity["row"] < before.height
    return both.filter(differs & old), both.filter(differs & ~old)
