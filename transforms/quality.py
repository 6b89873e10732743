"""How a model does on the living days, and when that is too bad: counts a day, and levels by two thresholds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

from transforms.recognition import SPLITS

FEWEST_JUDGED = 100
"""Fewer labelled images than these make no verdict: at .97 the share that is right then moves by .02 by chance."""


class Level(Enum):
    """What a figure means."""

    GOOD = "good"
    WARN = "warn"
    ERROR = "error"
    UNKNOWN = "too few to say"


@dataclass(frozen=True)
class Tally:
    """Labelled images that a model did not learn from, and how many of them it names right."""

    labelled: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share named right; None of none."""
        return self.right / self.labelled if self.labelled else None


def held_out(splits: Sequence[str], days: Sequence[date]) -> list[int]:
    """Places of the rows that no champion learned from: all but those of the training split, of images with a day."""
    return [at for at, (split, _) in enumerate(zip(splits, days, strict=False)) if split != SPLITS[0]]


def tallies(days: Sequence[date], labels: Sequence[str], named: Sequence[str]) -> dict[date, Tally]:
    """What was named right, by day.

    Args:
        days, labels: of the images, one each.
        named: a model's answers, one each.

    Raises:
        ValueError: not as many of one as of another.
    """
    labelled: Counter[date] = Counter(days)
    right = Counter(day for day, label, name in zip(days, labels, named, strict=True) if label == name)
    return {day: Tally(count, right[day]) for day, count in sorted(labelled.items())}


def judged(by_day: Mapping[date, Tally]) -> Tally:
    """What a verdict is made of: the newest day with enough labelled images, else all days together."""
    enough = [day for day, tally in by_day.items() if tally.labelled >= FEWEST_JUDGED]
    if enough:
        return by_day[max(enough)]
    return Tally(sum(one.labelled for one in by_day.values()), sum(one.right for one in by_day.values()))


def accuracy_level(tally: Tally, warn: float, error: float) -> Level:
    """Lower is worse; below `error` is an error, below `warn` a warning."""
    if tally.accuracy is None or tally.labelled < FEWEST_JUDGED:
        return Level.UNKNOWN
    return Level.ERROR if tally.accuracy < error else Level.WARN if tally.accuracy < warn else Level.GOOD


def drift_level(index: float | None, warn: float, error: float) -> Level:
    """Higher is worse; from `error` on an error, from `warn` on a warning."""
    if index is None:
        return Level.UNKNOWN
    return Level.ERROR if index >= error else Level.WARN if index >= warn else Level.GOOD
