"""Drift and quality by rule: what counts as moved, and from when on it is too much."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from transforms.drift import FEWEST_ROWS, PARTS, drift, stability_index
from transforms.features import COUNT
from transforms.quality import (
    FEWEST_JUDGED,
    Level,
    Tally,
    accuracy_level,
    drift_level,
    held_out,
    judged,
    tallies,
)

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


def rows(count: int, seed: int, move: float = 0.0, width: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)) + move


def test_the_same_distribution_stays_under_the_usual_warning_with_the_fewest_rows() -> None:
    found = drift(rows(FEWEST_ROWS, 1), rows(FEWEST_ROWS, 2))
    assert found is not None and found.index < 0.1


def test_half_a_deviation_is_drift_and_more_is_more() -> None:
    before = rows(2000, 1)
    indices = [drift(before, rows(2000, 2, move)).index for move in (0.0, 0.25, 0.5, 1.0)]
    assert indices == sorted(indices)
    assert indices[0] < 0.1 < 0.2 < indices[2]


def test_the_index_is_that_of_the_definition() -> None:
    """By hand: ten values, one a decile, and the same ten with all but one in the highest."""
    before = np.arange(10.0)[:, None]
    now = np.array([0.0] + [9.0] * 9)[:, None]
    bins = 12  # ten deciles, one below and one above all
    old = np.array([0.5, *[1.5] * 10, 0.5]) / (10 + bins / 2)
    new = np.array([0.5, 1.5, *[0.5] * 8, 9.5, 0.5]) / (10 + bins / 2)
    assert stability_index(before, now)[0] == pytest.approx(((new - old) * np.log(new / old)).sum())


@pytest.mark.parametrize("move", [1.0, -1.0], ids=["above", "below"])
def test_what_never_varied_and_is_another_value_now_is_noticed(move: float) -> None:
    """Bug prevented: a constant has no deciles, and whatever came afterwards fell into its only bin."""
    constant = np.zeros((FEWEST_ROWS, COUNT))
    assert drift(constant, constant).index == 0.0
    assert drift(constant, constant + move).index > 1


def test_a_part_that_moved_is_named() -> None:
    now = rows(1000, 2)
    now[:, PARTS["colour"]] += 2
    found = drift(rows(1000, 1), now)
    assert found.parts["colour"] > 1 > 0.1 > found.parts["luma"]


def test_too_few_rows_say_nothing() -> None:
    assert drift(rows(FEWEST_ROWS - 1, 1), rows(5000, 2)) is None
    assert drift(rows(5000, 1), rows(FEWEST_ROWS - 1, 2)) is None
    with pytest.raises(ValueError, match="both sides"):
        stability_index(rows(0, 1), rows(1, 1))


def test_what_was_learned_from_is_not_counted() -> None:
    splits, days = ("train", "test", "validation", "train"), (MONDAY, MONDAY, TUESDAY, TUESDAY)
    assert held_out(splits, days) == [1, 2]
    assert held_out(splits, ()) == [], "a family's own pictures are of no day"


def test_right_answers_are_counted_by_day() -> None:
    found = tallies([MONDAY, MONDAY, TUESDAY], ["1", "2", "3"], ["1", "3", "3"])
    assert found == {MONDAY: Tally(2, 1), TUESDAY: Tally(1, 1)}
    assert found[MONDAY].accuracy == 0.5


def test_the_verdict_is_of_the_newest_day_with_enough_labels_else_of_all_days() -> None:
    enough, few = Tally(FEWEST_JUDGED, 50), Tally(FEWEST_JUDGED - 1, 9)
    assert judged({MONDAY: enough, TUESDAY: few}) == enough
    assert judged({MONDAY: few, TUESDAY: few}) == Tally(2 * few.labelled, 18)
    assert judged({}) == Tally(0, 0)


@pytest.mark.parametrize(
    ("tally", "level"),
    [
        (Tally(1000, 940), Level.GOOD),
        (Tally(1000, 939), Level.WARN),
        (Tally(1000, 900), Level.WARN),
        (Tally(1000, 899), Level.ERROR),
        (Tally(FEWEST_JUDGED - 1, 0), Level.UNKNOWN),
        (Tally(0, 0), Level.UNKNOWN),
    ],
)
def test_accuracy_warns_before_it_is_an_error(tally: Tally, level: Level) -> None:
    assert accuracy_level(tally, warn=0.94, error=0.9) is level


@pytest.mark.parametrize(
    ("index", "level"),
    [(0.0, Level.GOOD), (0.1, Level.WARN), (0.25, Level.ERROR), (None, Level.UNKNOWN)],
)
def test_drift_warns_before_it_is_an_error(index: float | None, level: Level) -> None:
    assert drift_level(index, warn=0.1, error=0.25) is level
