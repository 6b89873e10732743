"""Item versions (slowly changing dimension, type 2): change events, in any order of arrival, fold to one history.

The events are the truth and the history is a function of them: per key the last event at each instant by seq, then
arrival; a version starts where a tracked column changes or after a delete, and ends where the next one starts or at a
delete. So late, doubled, reordered and replayed events cannot give another history. The conventions are docs/scd2.md;
this module holds the fold and names everything else that belongs to item versions.

Mechanism: a sort by (key as a number, ts, seq), then comparisons of neighbours, column by column. A fold of n events
takes O(n log n) time, and beside events and history the memory of some 80 bytes an event. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from transforms.scd2_events import (
    Rejection,
    accepted_events,
    check_events,
    concat_events,
    events_from_history,
    events_from_snapshot,
    split_replays,
    touched,
)
from transforms.scd2_frames import (
    DELETE,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    UPSERT,
    attribute_columns,
    numbered,
    parts_of,
)
from transforms.scd2_joins import as_of, changes, join_as_of

__all__ = [
    "DELETE",
    "EVENT_COLUMNS",
    "HISTORY_COLUMNS",
    "UPSERT",
    "Rejection",
    "as_of",
    "changes",
    "check_events",
    "concat_events",
    "events_from_history",
    "events_from_snapshot",
    "fold",
    "join_as_of",
    "split_replays",
    "touched",
]


def fold(events: pl.DataFrame, key: Sequence[str], tracked: Sequence[str] | None = None) -> pl.DataFrame:
    """The history that the events tell.

    Args:
        events: key columns, attributes, `op` ('upsert' or 'delete'), `ts` (with a zone), and maybe `seq` (whole
            numbers) and `batch_id`; rows in order of arrival. Upserts carry the whole item; a delete's attributes are
            not read. Replayed batches (`split_replays`) and events that `check_events` rejects count for nothing.
        key: columns that identify an item.
        tracked: attributes whose change starts a version; None for all. The others show their version's last values.

    Returns:
        A row a version, sorted by key and effective_date: key columns, attributes, `effective_date` and `end_date`
        (UTC, microseconds; half-open, null for the current version) and `current_flag`.

    Raises:
        ValueError: a column is missing, of a wrong type, or has a name that is taken; `tracked` names no attribute.
    """
    events = accepted_events(split_replays(events)[0], key)
    attributes = attribute_columns(events, key)
    compared = attributes if tracked is None else _tracked(tracked, attributes)
    rows, instants = _last_at_each_instant(events, key)
    item, at, deleted = instants["item"], instants["at"], instants["deleted"]

    # A run is what one version, or nothing at all after a delete, covers.
    begins = item.ne_missing(item.shift()) | deleted | deleted.shift().fill_null(False)
    for name in compared:
        values = events[name].gather(rows)
        begins |= values.ne_missing(values.shift())
    runs = (
        pl.DataFrame({"item": item, "at": at, "deleted": deleted})
        .with_row_index("first")
        .filter(begins)
        .with_columns(
            last=pl.col("first").shift(-1, fill_value=rows.len()) - 1,
            end=pl.when(pl.col("item") == pl.col("item").shift(-1)).then(pl.col("at").shift(-1)),
        )
        .filter(~pl.col("deleted"))
    )
    return events.select(pl.col([*key, *attributes]).gather(rows.gather(runs["last"]))).with_columns(
        effective_date=runs["at"], end_date=runs["end"], current_flag=runs["end"].is_null()
    )


def _last_at_each_instant(events: pl.DataFrame, key: Sequence[str]) -> tuple[pl.Series, pl.DataFrame]:
    """Indices of the events that count, by key and time; beside them item number, instant, and whether it deletes."""
    parts = parts_of(key)
    # Sorting numbers is four times cheaper than sorting texts, and there are far fewer keys than events.
    items = events.select(numbered(key)).unique().sort(parts).with_row_index("item")
    work = (
        events.select(*numbered(key), "seq", at="ts", deleted=pl.col("op") == DELETE)
        .join(items, on=parts, how="left", maintain_order="left")
        .drop(parts)
    )
    # The least significant column first, each pass stable, so that arrival decides last: three times cheaper than one
    # sort by several columns. Nulls first, so that none is the lowest seq.
    order = pl.int_range(work.height, dtype=pl.UInt32, eager=True)
    for column in ("seq", "at", "item"):
        values = work.select(pl.col(column).gather(order))
        if values[column].null_count() < work.height:
            order = order.gather(values.select(pl.arg_sort_by(column, nulls_last=False, maintain_order=True))[column])
    work = work.drop("seq")[order]
    wins = (work["item"].ne_missing(work["item"].shift(-1))) | (work["at"].ne_missing(work["at"].shift(-1)))
    return order.filter(wins), work.filter(wins)


def _tracked(tracked: Sequence[str], attributes: Sequence[str]) -> list[str]:
    if isinstance(tracked, str):
        raise ValueError(f"tracked takes a list of columns; the text {tracked!r} was given. Write [{tracked!r}].")
    if unknown := [name for name in tracked if name not in attributes]:
        raise ValueError(f"tracked names {', '.join(unknown)}; attributes are {', '.join(attributes) or 'none'}.")
    return list(tracked)
