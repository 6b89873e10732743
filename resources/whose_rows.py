"""Which rows of a table are of some images, keys or people: what an erasure takes, and what a purge leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from resources.data_files import read_file
from resources.lake_log import files_of
from transforms.retention import BRONZE

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from resources.lake import Lake
    from transforms.tables import TableSpec

_NAMED_BY = ("id", "key", "pseudonym", "headers")
"""The columns that say whose a row is."""


@dataclass(frozen=True)
class Wanted:
    """Images by id, and all that hangs on some keys and pseudonyms."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    """Names of data keys."""
    people: frozenset[tuple[date, str]] = frozenset()
    """Days and pseudonyms."""


def matches(lake: Lake, handle: DeltaTable, spec: TableSpec, wanted: Wanted) -> Iterator[tuple[dict[str, Any], Any]]:
    """Files of a table that hold rows of it, and which rows they are, as a series of booleans."""
    for file in files_of(handle):
        which = which_of(lake, spec, file, wanted)
        if which.any():
            yield file, which


def which_of(lake: Lake, spec: TableSpec, file: dict[str, Any], wanted: Wanted) -> pl.Series:
    """Which rows of a file are of it; never null."""
    columns = [name for name in (*_NAMED_BY, "day") if name in spec.schema.names]
    return read_file(lake, spec, file, columns).select(is_wanted(spec, wanted)).to_series()


def is_wanted(spec: TableSpec, wanted: Wanted) -> pl.Expr:
    """Whether a row is of it, by the columns that the table has of `id`, `key`, `pseudonym`, `day` and `headers`."""
    said: list[pl.Expr] = []
    if spec in BRONZE:
        ids = [one.encode() for one in sorted(wanted.ids)]
        keys = [one.encode() for one in sorted(wanted.keys)]
        said = [pl.col("key").is_in(ids), _header_in("id", ids), _header_in("key", keys)]
    else:
        said = [
            pl.col(name).is_in(sorted(values))
            for name, values in (("id", wanted.ids), ("key", wanted.keys))
            if name in spec.schema.names
        ]
        if "pseudonym" in spec.schema.names:
            said += [(pl.col("day") == day) & (pl.col("pseudonym") == whose) for day, whose in wanted.people]
    return pl.any_horizontal(pl.lit(False), *said).fill_null(False)


def _header_in(name: str, values: list[bytes]) -> pl.Expr:
    """Whether one of a row's headers has that name and one of these values."""
    header = pl.element().struct
    return pl.col("headers").list.eval((header.field("key") == name) & header.field("value").is_in(values)).list.any()
