"""The rows of uploaders who are held: those that a purge leaves when it takes all others of their day."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

from resources.data_files import read_file
from resources.lake import TableMissing
from resources.lake_log import files_of
from resources.whose_rows import Wanted, which_of
from transforms.retention import PURGED

if TYPE_CHECKING:
    import polars as pl

    from resources.key_holds import HeldKey
    from resources.lake import Lake
    from transforms.tables import TableSpec


def wanted_of(held: Collection[HeldKey]) -> Wanted:
    """The rows of uploaders that are held, on whatever day they lie: a correction comes days after its image."""
    return Wanted(keys=frozenset(str(one.key) for one in held), people=frozenset(people_of(held)))


def people_of(held: Collection[HeldKey]) -> set[tuple[date, str]]:
    """Days and pseudonyms."""
    return {(one.day, one.key.pseudonym) for one in held}


def left_over(lake: Lake, day: date, held: Collection[HeldKey]) -> bool:
    """Whether a table has a row of the day that is of nobody who is held.

    Raises:
        LakeUnavailable: a table cannot be read.
    """
    wanted = wanted_of(held)
    for spec in PURGED:
        try:
            files = files_of(lake.open(spec.name))
        except TableMissing:
            continue
        with lake.named(f"look whose rows of {day} are in table {spec.name}"):
            if any(not which_of(lake, spec, file, wanted).all() for file in files if file["partition.day"] == day):
                return True
    return False


def without_held(
    lake: Lake, spec: TableSpec, files: Iterable[dict[str, Any]], held: Collection[HeldKey]
) -> tuple[list[dict[str, Any]], list[pl.DataFrame]]:
    """Of these files those that hold a row of nobody who is held, and the rows of theirs that stay.

    Raises:
        LakeUnavailable: a file cannot be read.
    """
    if not held:
        return list(files), []
    going: list[dict[str, Any]] = []
    staying: list[pl.DataFrame] = []
    wanted = wanted_of(held)
    with lake.named(f"look for rows in table {spec.name} of uploaders that are held"):
        for file in files:
            which = which_of(lake, spec, file, wanted)
            if not which.all():
                going.append(file)
                if which.any():
                    staying.append(read_file(lake, spec, file).filter(which))
    return going, staying
