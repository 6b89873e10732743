"""Which days are over, and what keeps one all the same; nothing is changed.

That is told by records, not by a day's name alone: a day lives as long as the youngest of its records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date
from typing import TYPE_CHECKING

from resources.key_life import KeyLife, rows_by_day
from transforms.retention import PURGED, over

if TYPE_CHECKING:
    from resources.key_holds import HeldKey, Hold
    from resources.lake import Lake

_TOLD_BY = ("timestamp", "appended_at")
"""The columns that say when the broker appended a record."""


@dataclass(frozen=True)
class Day:
    """A day that is past its last: why it is kept all the same, or that it is due; and who of it is held."""

    day: date
    youngest: date
    rows: Mapping[str, int]
    hold: Hold | None = None
    due: bool = True
    people: tuple[HeldKey, ...] = ()
    """Data keys of its uploaders that are kept."""
    left: bool = True
    """Whether anything is left that is of nobody who is held; where nothing is, the day is not due."""

    @property
    def kept(self) -> bool:
        """Whether nothing of it may be touched."""
        return not self.due and self.left

    @property
    def sentence(self) -> str:
        """Why it stands or goes."""
        if self.hold is not None:
            return f"kept: held since {self.hold.since:%Y-%m-%d} by {self.hold.who}: {self.hold.why}"
        if self.people:
            said = sorted({f"since {one.since:%Y-%m-%d} by {one.who}: {one.why}" for one in self.people})
            held = f"{len({one.key.pseudonym for one in self.people})} of its uploaders, held {'; '.join(said)}"
            return f"purged, but for {held}" if self.due else f"kept: {held}"
        if not self.left:
            return "kept: what came late of uploaders that are held"
        return "purged" if self.due else f"kept: its youngest record is of {self.youngest}"


def past_days(lake: Lake, life: KeyLife, today: date, kept: int) -> list[Day]:
    """Every day that is past its last and has rows or a living key, the oldest first.

    Args:
        kept: on how many days what is of a day is kept, the first among them.

    Raises:
        TransientFailure: lake or key store are away.
    """
    from resources.held_rows import left_over

    rows, holds, living = rows_by_day(lake), life.holds(), life.living()
    past = {day for day in (*rows, *living) if over(day, day, today, kept)}
    held = life.held_keys() if past else []
    found = []
    for day in sorted(past):
        youngest = max(_youngest(lake, day, rows.get(day, {})), day)
        people = tuple(one for one in held if one.day == day)
        due, left = day not in holds and over(day, youngest, today, kept), True
        if due and held and day not in living:
            left = left_over(lake, day, held)
        found.append(Day(day, youngest, rows.get(day, {}), holds.get(day), due and left, people, left))
    return found


def _youngest(lake: Lake, day: date, rows: Mapping[str, int]) -> date:
    """The day on which the youngest of a day's records was appended."""
    import polars as pl

    youngest = day
    for spec in PURGED:
        column = next((name for name in _TOLD_BY if name in spec.schema.names), None)
        if column is None or not rows.get(spec.name):
            continue
        with lake.named(f"read the age of the rows of {day} in table {spec.name}"):
            of_day = pl.scan_delta(lake.open(spec.name)).filter(pl.col("day") == day)
            found = of_day.select(pl.col(column).max()).collect().item()
        if found is not None:
            youngest = max(youngest, found.astimezone(UTC).date())
    return youngest
