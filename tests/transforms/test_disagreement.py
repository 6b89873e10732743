"""Who contradicts what is known, by counts: real digits, and labels that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.resources.learning.table_rows import copies, digits
from transforms.disagreement import CONFIDENT, FEWEST, Opinion, judge, opinion_of_others
from transforms.families import DIGITS
from transforms.recognition import train

THRESHOLD = 0.6
NEAREST = ("1", "2")
MANY = 2_000


def plain_features(pixels: np.ndarray) -> np.ndarray:
    """As good as the recipe's for what is tested here, and made at once."""
    return np.hstack([pixels.reshape(len(pixels), 64) / 255, np.ones((len(pixels), 1))])


@pytest.fixture(scope="module")
def written() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = digits()
    order = np.random.default_rng(3).permutation(len(labels))
    return plain_features(pixels)[order], np.array(labels)[order]


def opinion(*rows: tuple[str, str, float]) -> tuple[list[str], Opinion]:
    labels, named, probabilities = zip(*rows, strict=True)
    return list(labels), Opinion(np.array(named), np.array(probabilities), np.ones(len(rows), dtype=bool))


def test_only_confident_answers_to_labels_that_were_taught_count():
    labels, said = opinion(("1", "2", CONFIDENT), ("1", "2", CONFIDENT - 0.01), ("1", "1", 1.0), ("1", "2", 1.0))
    said.taught[3] = False
    found = judge(["ada"] * 4, labels, said, THRESHOLD)
    assert (found.tallies["ada"].rows, found.tallies["ada"].contradicted) == (3, 1)


@pytest.mark.parametrize(
    ("shares", "suspects", "undecided"),
    [
        ({"a": 0.0, "b": 0.02, "c": 0.9}, {"c"}, set()),
        ({"a": 0.0, "b": 0.02, "c": 0.5}, set(), set()),
        ({"a": 0.9}, {"a"}, set()),
        ({"a": 0.9, "b": 0.9}, set(), {"a", "b"}),
        ({"a": 0.9, "b": 0.9, "c": 0.0}, {"a", "b"}, set()),
        ({"a": 0.9, "b": 0.9, "c": 0.0, "d": 0.0}, {"a", "b"}, set()),
        ({"a": 0.9, "b": 0.8, "c": 0.9, "d": 0.0}, set(), {"a", "b", "c"}),
        ({"a": 0.7, "b": 0.3, "c": 0.3}, set(), {"a"}),
    ],
    ids=[
        "one wrong among honest ones", "below the threshold", "alone against the champion", "all against the champion",
        "two of three", "half of them", "most of them", "where the others are contradicted too",
    ],
)  # fmt: skip
def test_who_stands_out_is_judged_against_the_others(shares: dict[str, float], suspects: set[str], undecided: set[str]):
    rows = [(who, ("1", "2" if n < share * 100 else "1", 1.0)) for who, share in shares.items() for n in range(100)]
    labels, said = opinion(*(row for _, row in rows))
    found = judge([who for who, _ in rows], labels, said, THRESHOLD)
    assert (set(found.suspects), set(found.undecided)) == (suspects, undecided)
    named = judge([who for who, _ in rows], labels, said, THRESHOLD, quorum=9)
    assert named.suspects == (), "below the quorum nobody is named"
    assert set(named.undecided) == {who for who, share in shares.items() if share >= THRESHOLD}


def test_of_a_handful_of_rows_nothing_is_said():
    rows = [("1", "2", 1.0)] * (FEWEST - 1)
    labels, said = opinion(*rows)
    assert judge(["ada"] * len(rows), labels, said, THRESHOLD).suspects == ()
    labels, said = opinion(*rows, rows[0])
    assert judge(["ada"] * FEWEST, labels, said, THRESHOLD).suspects == ("ada",)


Wrong = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda labels: np.char.mod("%d", (labels.astype(int) + 1) % 10),
        lambda labels: np.random.default_rng(5).permutation(labels),
    ],
    ids=["each moved on by one", "drawn at random"],
)
def test_without_a_champion_the_others_find_who_sends_wrong_labels_by_the_thousand(
    written: tuple[np.ndarray, np.ndarray], wrong: Wrong
):
    """Bug prevented: the many rows of one are most of what the judges of the others learn from."""
    features, labels = written
    pixels, right = digits()
    noisy, which = copies(pixels, MANY)
    sources = ["ada", "bob", "eve", "fay"] * (len(labels) // 4) + ["ada"] * (len(labels) % 4) + ["mallory"] * MANY
    given = [*labels, *wrong(np.array(right)[which])]
    said = opinion_of_others(DIGITS, np.vstack([features, plain_features(noisy)]), given, sources)
    found = judge(sources, given, said, THRESHOLD, quorum=3)
    assert (found.suspects, found.undecided) == (("mallory",), ())
    assert found.tallies["mallory"].rows > 0.9 * MANY
    assert max(tally.share for who, tally in found.tallies.items() if who != "mallory") < 0.2


def test_two_who_contradict_each_other_are_undecided_and_one_alone_is_not_judged(
    written: tuple[np.ndarray, np.ndarray],
):
    features, labels = written
    wrong = np.char.mod("%d", (labels.astype(int) + 1) % 10)
    half = len(labels) // 2
    sources = ["ada"] * half + ["mallory"] * (len(labels) - half)
    given = [*labels[:half], *wrong[half:]]
    found = judge(sources, given, opinion_of_others(DIGITS, features, given, sources), THRESHOLD, quorum=3)
    assert (found.suspects, set(found.undecided)) == ((), {"ada", "mallory"})
    everyone, own = ["ada"] * len(labels), list(labels)
    alone = judge(everyone, own, opinion_of_others(DIGITS, features, own, everyone), THRESHOLD)
    assert alone.tallies["ada"].rows == 0


@pytest.mark.parametrize("taught", [0, 5])
def test_a_class_that_the_champion_knows_little_or_not_at_all_makes_nobody_a_suspect(
    written: tuple[np.ndarray, np.ndarray], taught: int
):
    """Whoever sends it is right, and the champion is not: it is unsure of it, or was never taught the label. The two
    classes that come nearest to the threshold."""
    features, labels = written
    for new in NEAREST:
        known = np.flatnonzero(labels != new)
        learned = np.concatenate([known, np.flatnonzero(labels == new)[:taught]])
        champion = train(DIGITS, features[learned], list(labels[learned]))
        theirs = np.flatnonzero(labels == new)[taught:]
        answers = champion.predict_proba(features[theirs])
        named = champion.classes_[answers.argmax(axis=1)]
        said = Opinion(named, answers.max(axis=1), np.isin(labels[theirs], champion.classes_))
        found = judge(["ada"] * len(theirs), list(labels[theirs]), said, THRESHOLD)
        assert (found.suspects, found.undecided) == ((), ()), f"{new}: {found.tallies['ada']}"
