"""Whose labels contradict what is known: counts by uploader, and who stands out. Pure.

A judge names every row: the champion, or a model that learned from other uploaders' rows. A row is contradicted where
the judge names another label and holds that at least `CONFIDENT` probable. Only labels that the judge was taught are
judged, and only confident answers count, for a model that knows a class little is unsure of it far more often than it
is sure and wrong. Measured on scikit-learn's digits, shares of an uploader's rows that are contradicted: right labels
of pictures never seen .00; a whole class that the judge was taught five pictures of .00 to .33, and one it was not
taught at all, were it judged, .01 to .47; labels drawn at random .76; each label moved on by one .85; every second
label wrong .44.

Who stands out has at least `FEWEST` judged rows, and a share that exceeds the middle of the others' by the threshold.
Where most contradict, nobody can say from rows alone who is right: those are undecided. Limits: an uploader who is
wrong now and then hides below the threshold; right labels of a kind of picture that no one else sends (inverted, turned
by a right angle: .66 to .90) look wrong to any model; without a champion, a majority that is wrong in the same way is
believed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Generic, TypeVar

import numpy as np

from transforms.recognition import CannotLearn, Family, train

CONFIDENT = 0.9
FEWEST = 50
"""Judged rows of an uploader below which nothing is said of them."""
FOLDS = 3

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Opinion:
    """What a judge says of rows, one entry a row: its answer, how probable it holds it, and whether it was taught the
    label that the row has."""

    named: np.ndarray
    probabilities: np.ndarray
    taught: np.ndarray


@dataclass(frozen=True)
class Tally:
    """Rows of one uploader that were judged, and those of them that were contradicted."""

    rows: int
    contradicted: int

    @property
    def share(self) -> float:
        """Share that was contradicted; 0 where nothing was judged."""
        return self.contradicted / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Judgement(Generic[S]):
    """Who stands out, who contradicts and does not stand out, and the counts of everybody."""

    suspects: tuple[S, ...]
    undecided: tuple[S, ...]
    tallies: Mapping[S, Tally]


def opinion_of_others(family: Family, features: np.ndarray, labels: Sequence[str], sources: Sequence[S]) -> Opinion:
    """The opinion of models that learned from other sources' rows, cross-validated in up to `FOLDS` groups of sources.

    Each source gives a model at most as many rows as the middle one of those that are judged has, so that the rows of
    one are never most of what it learned from, however many it sends. A row that no model could judge has a label that
    was not taught.
    """
    given = np.asarray(labels, dtype=np.str_)
    places: dict[S, list[int]] = {}
    for place, source in enumerate(sources):
        places.setdefault(source, []).append(place)
    named = given.copy()
    probabilities, taught = np.zeros(len(given)), np.zeros(len(given), dtype=bool)
    sizes = [len(rows) for rows in places.values()]
    most = median_low([size for size in sizes if size >= FEWEST] or [max(sizes, default=0)])
    largest = sorted(places, key=lambda source: -len(places[source]))
    folds = [largest[start::FOLDS] for start in range(min(FOLDS, len(largest)))]
    for fold in folds:
        others = [_spread(places[source], most) for source in largest if source not in fold]
        learned = np.array(sorted(place for some in others for place in some), dtype=np.int64)
        try:
            model = train(family, features[learned], list(given[learned]))
        except CannotLearn:
            continue
        judged = np.array([place for source in fold for place in places[source]], dtype=np.int64)
        answers = model.predict_proba(np.asarray(features[judged], dtype=np.float64))
        named[judged] = np.asarray(model.classes_)[answers.argmax(axis=1)]
        probabilities[judged] = answers.max(axis=1)
        taught[judged] = np.isin(given[judged], model.classes_)
    return Opinion(named, probabilities, taught)


def judge(
    sources: Sequence[S], labels: Sequence[str], opinion: Opinion, threshold: float, quorum: int = 1
) -> Judgement[S]:
    """Who stands out.

    Args:
        sources: whose each row is.
        labels: of the rows.
        opinion: of the rows.
        threshold: share by which one's contradicted rows must exceed the middle of the others'.
        quorum: uploaders with enough rows below which nobody is named, only undecided: 1 for the opinion of a model
            that became champion before, 3 for that of the others, since of two who contradict each other either may be
            right.
    """
    against = (opinion.named != np.asarray(labels, dtype=np.str_)) & (opinion.probabilities >= CONFIDENT)
    rows: dict[S, list[int]] = {}
    for source, judged, contradicted in zip(sources, opinion.taught, against & opinion.taught, strict=True):
        counts = rows.setdefault(source, [0, 0])
        counts[0] += int(judged)
        counts[1] += int(contradicted)
    tallies = {source: Tally(*counts) for source, counts in rows.items()}
    heard = {source: tally.share for source, tally in tallies.items() if tally.rows >= FEWEST}
    suspects, undecided = [], []
    for source, share in sorted(heard.items(), key=lambda entry: -entry[1]):
        rest = [other for one, other in heard.items() if one != source]
        if len(heard) >= quorum and share - (median_low(rest) if rest else 0.0) >= threshold:
            suspects.append(source)
        elif share >= threshold:
            undecided.append(source)
    return Judgement(tuple(suspects), tuple(undecided), tallies)


def _spread(places: Sequence[int], most: int) -> list[int]:
    """At most `most` of the places, evenly spread."""
    return [places[at] for at in np.linspace(0, len(places) - 1, min(most, len(places))).astype(np.int64)]
