"""Whether numbers of today are distributed as those that a model learned from: the population stability index.

Of each feature alone, as N. Siddiqi (Credit Risk Scorecards, 2006) describes it: the values learned from are cut at
their deciles, and the index is the sum over the bins of (now - before) * ln(now / before), shares of both. What lies
outside all that was learned from has a bin of its own at either end. His reading: below 0.1 no change, above 0.25 a
large one. Half a row is added to each bin, so that an empty one gives a number.

Chosen before the Kolmogorov-Smirnov statistic, for pixels of a few shades tie often, and its usual levels hang on the
number of rows. Limits: without any drift the index is about (bins - 1) * (1 / before + 1 / now) (B. Yurdakul, 2018), so
that few rows look like drift: `FEWEST_ROWS`; and features that only move together are not noticed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from transforms.features import COLOUR, LUMA, SIZE

BINS = 10
FEWEST_ROWS = 300
"""Rows that either side must have; with no more on both sides the index is about 0.08 without any drift."""

PARTS: Mapping[str, slice] = {"luma": LUMA, "colour": COLOUR, "size": SIZE}


@dataclass(frozen=True)
class Drift:
    """How far features have moved: the mean index of those that vary, in all and by part of the vector."""

    index: float
    parts: Mapping[str, float]
    rows: int
    learned_of: int


def stability_index(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The index of each feature, never negative.

    Args:
        before: float[rows, features], what was learned from.
        now: float[other rows, features].

    Returns:
        float64[features]; 0 where a feature has one value on both sides.

    Raises:
        ValueError: a side without rows, or another number of features.
    """
    if not len(before) or not len(now) or before.shape[1] != now.shape[1]:
        raise ValueError(f"Rows of one vector on both sides are compared; {before.shape} and {now.shape} were given.")
    return np.array([_of_one(*columns) for columns in zip(before.T, now.T, strict=True)])


def drift(before: np.ndarray, now: np.ndarray) -> Drift | None:
    """Whole vectors compared; None where either side has too few rows to say."""
    if min(len(before), len(now)) < FEWEST_ROWS:
        return None
    found = stability_index(before, now)
    varies = (np.ptp(before, axis=0) > 0) | (np.ptp(now, axis=0) > 0) | (before[0] != now[0])

    def mean(part: slice) -> float:
        return float(found[part][varies[part]].mean()) if varies[part].any() else 0.0

    return Drift(mean(slice(None)), {name: mean(part) for name, part in PARTS.items()}, len(now), len(before))


def _of_one(before: np.ndarray, now: np.ndarray) -> float:
    ordered = np.sort(before)
    # The value that so many tenths of the rows do not exceed; counted in whole numbers, for 0.3 * 10 is above 3.
    deciles = ordered[(np.arange(1, BINS + 1) * len(ordered) - 1) // BINS]
    edges = np.unique([np.nextafter(ordered[0], -np.inf), *deciles])
    shares = []
    for values in (before, now):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    old, new = shares
    return float(((new - old) * np.log(new / old)).sum())
