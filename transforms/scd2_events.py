"""Events of item versions: which are taken, which batches are repeats, and how snapshots and histories become events.

The order in which a batch goes in: `split_replays` against the batch ids that the log holds, `check_events` on what is
new, then the log; `touched` says whose histories to fold again. Conventions: docs/scd2.md. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

import polars as pl

from transforms.scd2_frames import (
    DELETE,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    UPSERT,
    attribute_columns,
    event_frame,
    history_frame,
    instant,
    key_columns,
    refuse_names,
    same_key_types,
    stacked,
)


class Rejection(StrEnum):
    """Why one event is not taken; stable, for it is stored."""

    NULL_KEY = "null_key"
    NULL_TS = "null_ts"
    BAD_OP = "bad_op"


def check_events(events: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events that can be taken, and those that cannot with a `reason`; both in order of arrival.

    Args:
        events: key columns, attributes, `op`, `ts`, and maybe `seq` and `batch_id`.
        key: columns that identify an item; none of them may be null.

    Returns:
        Accepted events, with `ts` in UTC and microseconds; rejected ones with a column `reason` more: the first of
        null_key, null_ts (no instant) and bad_op (neither 'upsert' nor 'delete') that holds.

    Raises:
        ValueError: the frame as a whole cannot be judged: a column is missing or of a wrong type, or has a name that is
            taken.
    """
    refuse_names(events.columns, ("reason",), "Events")
    judged = event_frame(events, key).with_columns(reason=_reason(key))
    bad = judged["reason"].is_not_null()
    return judged.filter(~bad).drop("reason"), judged.filter(bad)


def accepted_events(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The events that `check_events` accepts, where nobody wants to hear of the others."""
    return event_frame(events, key).filter(_reason(key).is_null())


def _reason(key: Sequence[str]) -> pl.Expr:
    return (
        pl.when(pl.any_horizontal(pl.col(key).is_null()))
        .then(pl.lit(Rejection.NULL_KEY.value))
        .when(pl.col("ts").is_null())
        .then(pl.lit(Rejection.NULL_TS.value))
        .when(~pl.col("op").is_in([UPSERT, DELETE]).fill_null(False))
        .then(pl.lit(Rejection.BAD_OP.value))
    )


def split_replays(events: pl.DataFrame, seen: Collection[object] = ()) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of batches that are new, and those of batches that came before; both in order of arrival.

    A batch is a run of consecutive rows with one `batch_id`. The first run of an id that is not in `seen` counts;
    every later run of it is a replay as a whole, whatever it holds. Rows with no batch id are never a replay. Two runs
    of an id with nothing between them are one batch.

    Args:
        events: in order of arrival. Without a column `batch_id` nothing is a replay.
        seen: batch ids that came in earlier frames, of the column's type.

    Raises:
        ValueError: the ids in `seen` are of another type, so that none would ever be found.
    """
    if "batch_id" not in events.columns or not events.height:
        return events, events.clear()
    ids = events["batch_id"]
    begins = ids.ne_missing(ids.shift())
    begins[0] = True
    runs = ids.filter(begins)
    replayed = ~runs.is_first_distinct()
    if len(seen):
        replayed |= runs.is_in(_known(seen, ids).implode())
    replayed &= runs.is_not_null()
    if not replayed.any():
        return events, events.clear()
    rows = replayed.gather(begins.cum_sum() - 1)
    return events.filter(~rows), events.filter(rows)


def _known(seen: Collection[object], ids: pl.Series) -> pl.Series:
    known = pl.Series("seen", list(seen), strict=False)
    if pl.Null in (known.dtype, ids.dtype):
        return ids.clear()
    if known.dtype != ids.dtype and not (known.dtype.is_integer() and ids.dtype.is_integer()):
        raise ValueError(f"batch_id is of type {ids.dtype}, the ids seen before are {known.dtype}. Cast one of them.")
    return known


def touched(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The distinct keys of the events that can be taken, sorted: no other key's history can change by them."""
    return accepted_events(events, key).select(key).unique().sort(key)


def concat_events(frames: Sequence[pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """One frame of events from several, in order of arrival, though columns came and went between them.

    A column that a frame lacks is null there. Whole numbers meet decimals and floats (30 is 30.0, exact up to 2^53).

    Raises:
        ValueError: as `check_events`; or a column has types that do not meet, as text and numbers, or decimals and
            floats.
    """
    rows = stacked([event_frame(frame, key) for frame in frames])
    return rows.select(*(name for name in rows.columns if name not in EVENT_COLUMNS), *EVENT_COLUMNS)


def events_from_snapshot(
    rows: pl.DataFrame,
    live: pl.DataFrame,
    key: Sequence[str],
    ts: datetime,
    scope: pl.Expr | pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What a snapshot says as events: an upsert for each of its rows, a delete for each live key that it lacks.

    Rows that did not change are upserts too: they say that the item was so at `ts`. Events have no seq and no batch id;
    give them one with `with_columns`.

    Args:
        rows: the snapshot, one row a key: key columns and attributes.
        live: rows of the keys that live at `ts`, as `as_of(history, ts)` gives them; further columns are for `scope`.
        key: columns that identify an item.
        ts: when the snapshot was taken, with a zone.
        scope: where absence means deletion, if the snapshot is of a part only: an expression over the columns of
            `live`, or a frame with some of its columns, such as the keys. Rows outside it are upserts all the same.

    Raises:
        ValueError: a key stands twice in the snapshot; a column is missing, of another type, or has a name that is
            taken; `ts` has no zone; the scope does not fit `live`.
    """
    key = key_columns(key, rows, "Rows of the snapshot")
    refuse_names(rows.columns, (*EVENT_COLUMNS, *HISTORY_COLUMNS), "Rows of the snapshot")
    key_columns(key, live, "Live rows")
    same_key_types(rows, live, key, "the snapshot and the live rows")
    if twice := rows.filter(~pl.any_horizontal(pl.col(key).is_null())).select(key).is_duplicated().sum():
        raise ValueError(f"{twice} rows of the snapshot share their key ({', '.join(key)}) with another row of it.")
    gone = _inside(live, scope).select(key).unique(maintain_order=True).join(rows, on=key, how="anti")
    return pl.concat(
        [_as_events(rows, UPSERT, instant(ts)), _as_events(gone, DELETE, instant(ts))], how="diagonal"
    ).select(*rows.columns, *EVENT_COLUMNS)


def _inside(live: pl.DataFrame, scope: pl.Expr | pl.DataFrame | None) -> pl.DataFrame:
    if scope is None:
        return live
    try:
        if isinstance(scope, pl.DataFrame):
            return live.join(scope, on=scope.columns, how="semi", nulls_equal=True)
        return live.filter(scope)
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"The scope does not fit the live rows, whose columns are {', '.join(live.columns)}: {error}"
        ) from error


def events_from_history(history: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The least events that fold to this history: an upsert where a version starts, a delete where one ends in a gap.

    Repeats and events that lost a tie are not in a history and do not come back. Events have no seq and no batch id.
    """
    history = history_frame(history, key)
    attributes = attribute_columns(history, key)
    versions = history.select(*key, *attributes, "effective_date", "end_date")
    closed = versions.filter(pl.col("end_date").is_not_null()).join(
        versions, left_on=[*key, "end_date"], right_on=[*key, "effective_date"], how="anti"
    )
    upserts = _as_events(versions.select(*key, *attributes), UPSERT, versions["effective_date"])
    deletes = _as_events(closed.select(*key), DELETE, closed["end_date"])
    return pl.concat([upserts, deletes], how="diagonal").select(*key, *attributes, *EVENT_COLUMNS)


def _as_events(rows: pl.DataFrame, op: str, ts: pl.Expr | pl.Series) -> pl.DataFrame:
    return rows.with_columns(op=pl.lit(op), ts=ts, seq=pl.lit(None, pl.Int64), batch_id=pl.lit(None, pl.String))
