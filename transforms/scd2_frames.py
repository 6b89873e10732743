"""What the frames of item versions hold: their columns, and the checks that say in a sentence what is wrong with one.

Events have the key's columns, attributes, and `op`, `ts`, `seq`, `batch_id`; a history has the key's columns,
attributes, and `effective_date`, `end_date`, `current_flag`. Every other column is an attribute. Messages name columns
and types and never a value. Conventions: docs/scd2.md. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import polars as pl

UPSERT = "upsert"
DELETE = "delete"
EVENT_COLUMNS = ("op", "ts", "seq", "batch_id")
HISTORY_COLUMNS = ("effective_date", "end_date", "current_flag")
INSTANT = pl.Datetime("us", "UTC")

_RESERVED = frozenset({*EVENT_COLUMNS, *HISTORY_COLUMNS})


def key_columns(key: Sequence[str], frame: pl.DataFrame, what: str) -> list[str]:
    """The key's columns, once they are known to be columns of `frame` that identify something.

    Raises:
        ValueError: no column, one twice, a reserved name, one that the frame lacks, or one of a type without exact
            equality (floats, nested types).
    """
    if isinstance(key, str):
        raise ValueError(f"key takes a list of columns; the text {key!r} was given. Write [{key!r}].")
    if not key or len(set(key)) < len(key):
        raise ValueError(f"key takes one column or more, each once; {list(key)} was given.")
    if reserved := sorted(_RESERVED.intersection(key)):
        raise ValueError(
            f"{_listed(reserved)} cannot be part of the key: the conventions of item versions use the name."
        )
    need(frame, key, what)
    for name in key:
        kind = frame.schema[name]
        if kind.is_float() or kind.is_nested():
            raise ValueError(
                f"{name} is of type {kind}, which has no exact equality to be a key by; give text or whole numbers."
            )
    return list(key)


def need(frame: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise a ValueError that names the columns which `frame` lacks, and those it has."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"{what} lack {_listed(missing)}; they have {_listed(frame.columns)}.")


def attribute_columns(frame: pl.DataFrame, key: Sequence[str]) -> list[str]:
    """Every column that is neither of the key nor of the conventions, in order."""
    return [name for name in frame.columns if name not in key and name not in _RESERVED]


def refuse_names(columns: Iterable[str], taken: Iterable[str], what: str) -> None:
    """Raise a ValueError that names the columns which would stand twice."""
    if clash := sorted(set(columns).intersection(taken)):
        raise ValueError(f"{what} have columns of a name that is taken: {_listed(clash)}. Rename them first.")


def event_frame(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Events with the columns of the conventions in their types: `ts` in UTC and microseconds, `seq` whole numbers.

    `seq` and `batch_id` may be left out, and are null then.

    Raises:
        ValueError: a column is missing, clashes with one of a history, or has a type that cannot be meant.
    """
    key_columns(key, events, "Events")
    need(events, ("op", "ts"), "Events")
    refuse_names(events.columns, HISTORY_COLUMNS, "Events")
    if events.schema["op"] not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise ValueError(f"op is of type {events.schema['op']}; it takes the texts {UPSERT!r} and {DELETE!r}.")
    added = [pl.lit(None, kind).alias(name) for name, kind in _OPTIONAL.items() if name not in events.columns]
    given = events.with_columns(
        *added,
        *(pl.col(name).cast(kind) for name, kind in _OPTIONAL.items() if events.schema.get(name) == pl.Null),
        pl.col("op").cast(pl.String),
        instants(events["ts"]),
    )
    if not given.schema["seq"].is_integer():
        raise ValueError(f"seq is of type {given.schema['seq']}; it takes whole numbers or null.")
    return given


_OPTIONAL: dict[str, type[pl.DataType]] = {"seq": pl.Int64, "batch_id": pl.String}


def history_frame(history: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """A history with `effective_date` and `end_date` in UTC and microseconds.

    Raises:
        ValueError: a column is missing, is one of events, or has a type that cannot be meant.
    """
    key_columns(key, history, "History rows")
    need(history, HISTORY_COLUMNS, "History rows")
    refuse_names(history.columns, EVENT_COLUMNS, "History rows")
    return history.with_columns(instants(history["effective_date"]), instants(history["end_date"]))


def instants(column: pl.Series) -> pl.Series:
    """The same instants in UTC and microseconds.

    Raises:
        ValueError: not timestamps; timestamps without a zone, which are no instants; nanoseconds that microseconds
            would cut, for two instants could become one.
    """
    kind = column.dtype
    if kind == pl.Null:
        return column.cast(INSTANT)
    if not isinstance(kind, pl.Datetime):
        raise ValueError(f"{column.name} is of type {kind}; it takes timestamps with a zone.")
    if kind.time_zone is None:
        raise ValueError(
            f"{column.name} has timestamps without a zone; give them one, for instance with dt.replace_time_zone."
        )
    if kind.time_unit == "ns" and (cut := (column.dt.epoch("ns") % 1000 != 0).sum()):
        raise ValueError(
            f"{column.name} has {cut} timestamps finer than a microsecond; truncate them, with a seq where they tie."
        )
    return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def instant(at: datetime) -> pl.Expr:
    """One instant as a literal.

    Raises:
        ValueError: it has no zone.
    """
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone, so that it is no instant.")
    return pl.lit(at.astimezone(UTC), dtype=INSTANT)


def numbered(key: Sequence[str]) -> list[pl.Expr]:
    """The key's columns as key_0, key_1, ...: names that no column of a person's frame can clash with."""
    return [pl.col(name).alias(part) for name, part in zip(key, parts_of(key), strict=True)]


def parts_of(key: Sequence[str]) -> list[str]:
    """The names that `numbered` gives."""
    return [f"key_{number}" for number in range(len(key))]


def same_key_types(left: pl.DataFrame, right: pl.DataFrame, key: Sequence[str], what: str) -> None:
    """Raise a ValueError that names key columns of two types: they would match nothing, or the wrong rows."""
    differing = [name for name in key if left.schema[name] != right.schema[name]]
    if differing:
        types = "; ".join(f"{name} is {left.schema[name]} and {right.schema[name]}" for name in differing)
        raise ValueError(f"The key has two types in {what}: {types}. Cast one of them.")


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames one below the other, in order; a column that one of them lacks is null there.

    Types meet where no value changes its meaning: whole numbers of any size, whole numbers with decimals or with floats
    (30 is 30.0), decimals of any scale, null with anything. Polars by itself would make text of numbers, floats of
    money, and cut microseconds to milliseconds.

    Raises:
        ValueError: a column has types that do not meet.
    """
    for name in dict.fromkeys(name for frame in frames for name in frame.columns):
        kinds = list(dict.fromkeys(frame.schema[name] for frame in frames if name in frame.columns))
        if not all(_meet(one, other) for one in kinds for other in kinds):
            raise ValueError(f"{name} is of types that do not meet: {_listed(map(str, kinds))}. Cast one of them.")
    return pl.concat(frames, how="diagonal_relaxed")


def _meet(one: pl.DataType, other: pl.DataType) -> bool:
    if one == other or pl.Null in (one, other):
        return True
    return one.is_numeric() and other.is_numeric() and not (_money(one, other) or _money(other, one))


def _money(one: pl.DataType, other: pl.DataType) -> bool:
    return one.is_decimal() and other.is_float()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no column"
