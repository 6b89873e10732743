"""What learning does with numbers: take a label, split, train, evaluate; one family of images at a time.

A `Family` says what a model is of: which images it is for, which labels it takes, and what is fitted; those there are
stand in `transforms.families`. Splits follow the content's SHA-256 alone, so that the same picture is never in two of
them, whoever sent it and whenever, and a picture stays in its split for ever: a champion has never seen what it is
tested on. Training is deterministic (rows in one order, one solver, no random start): the same rows give the same
model. Scoring is `transforms.onnx_models`.

Pure but for scikit-learn's imports, which take seconds and stay inside the functions. Limits: near duplicates of other
bytes may stand in two splits; labels are believed, for they are the uploader's word.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")
TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15
SPLIT_RECIPE = b"darkroom-split-1"
LEARNED_OF = "labelled images it learned of"
CORRECTED_OF = "corrected labels it learned of"
"""What is told of a champion in Dagster, where the sensors read it."""


class CannotLearn(Exception):
    """There is nothing that a model could be made of; `facts` are the counts in the message."""

    def __init__(self, message: str, **facts: int) -> None:
        super().__init__(message)
        self.facts = facts


class NothingToLearn(CannotLearn):
    """No row with a label in a split that is needed."""


class OneClassOnly(CannotLearn):
    """Every row has the same label: nothing is told apart."""


@dataclass(frozen=True)
class Example:
    """A picture that a family brings itself, to learn from or to be tested on."""

    split: str
    label: str
    thumbnail: bytes
    """WebP, as `transforms.images.develop` makes it."""


@dataclass(frozen=True)
class Family:
    """A kind of images that one model names.

    It learns either from the labels of uploaders (`take`), or from pictures of its own (`examples`), and then needs
    no label of anybody.

    Attributes:
        name: of the registered model.
        recipe: name of what is fitted; another pipeline, or other examples, get another, so that it is trained anew.
        labels: what may be answered.
        pipeline: a fresh scikit-learn pipeline with `predict_proba`, one that skl2onnx can export. It is given whole
            vectors, and picks its columns by `transforms.features.LUMA`, `COLOUR` and `SIZE`.
        admits: whether an image is of this kind, by its whole vector alone, so that all lanes agree: no other is
            learned from or named.
        take: the label in an uploader's bytes, or None where it is none of this family's.
        examples: the pictures of a family that brings its own.
    """

    name: str
    recipe: str
    labels: tuple[str, ...]
    pipeline: Callable[[], Any]
    admits: Callable[[np.ndarray], bool]
    take: Callable[[bytes], str | None] | None = None
    examples: Callable[[], Sequence[Example]] | None = None

    def __post_init__(self) -> None:
        if (self.take is None) == (self.examples is None):
            raise ValueError(
                f"Family {self.name} takes labels of uploaders, or brings examples: exactly one of the two."
            )

    def taken(self, label: bytes, vector: np.ndarray) -> str | None:
        """What an uploader's label says of an image; None where label or image are none of this family's."""
        return self.take(label) if self.take is not None and self.admits(vector) else None


@dataclass(frozen=True)
class ClassScore:
    """One class: how many rows have it, how many of them were named so, and how many were named so in all."""

    rows: int
    right: int
    named: int

    @property
    def recall(self) -> float:
        """Share of its rows that were named so."""
        return self.right / self.rows if self.rows else 0.0

    @property
    def precision(self) -> float:
        """Share of what was named so that has it."""
        return self.right / self.named if self.named else 0.0


@dataclass(frozen=True)
class Evaluation:
    """How a model did on rows whose labels are known. `confusion[i][j]`: rows of label i that were named j."""

    labels: tuple[str, ...]
    rows: int
    right: int
    confusion: tuple[tuple[int, ...], ...]

    @property
    def accuracy(self) -> float:
        """Share of the rows that were named right; 0 where there are none."""
        return self.right / self.rows if self.rows else 0.0

    @property
    def classes(self) -> Mapping[str, ClassScore]:
        """Each class by its label."""
        matrix = np.array(self.confusion, dtype=np.int64).reshape(len(self.labels), len(self.labels))
        return {
            label: ClassScore(int(matrix[at].sum()), int(matrix[at, at]), int(matrix[:, at].sum()))
            for at, label in enumerate(self.labels)
        }


def split_of(sha256: bytes) -> str:
    """The split of a picture: 70 in 100 `train`, 15 `validation`, 15 `test`, by a hash of its content's hash.

    Args:
        sha256: SHA-256 of the image, 32 raw bytes.
    """
    if len(sha256) != 32:
        raise ValueError(f"sha256 takes the 32 raw bytes of a digest; {len(sha256)} bytes were given.")
    # Hashed again: ids and samples may be chosen by the content's own hash, as the demo's unlabelled tenth is.
    place = int.from_bytes(hashlib.sha256(SPLIT_RECIPE + sha256).digest()[:8], "big") / 2**64
    return SPLITS[0] if place < TRAIN_SHARE else SPLITS[1] if place < TRAIN_SHARE + VALIDATION_SHARE else SPLITS[2]


def train(family: Family, features: np.ndarray, labels: Sequence[str]) -> Any:
    """Fit the family's pipeline; the same rows in the same order give the same model.

    Args:
        features: one row an image.
        labels: one a row, each taken by the family.

    Raises:
        NothingToLearn: no rows.
        OneClassOnly: one label on every row.
    """
    if not len(labels):
        raise NothingToLearn(
            f"The training set of {family.name} has no labelled row in its split {SPLITS[0]}: send images with labels "
            f"({', '.join(family.labels)}).",
            rows=0,
        )
    classes = set(labels)
    if len(classes) < 2:
        raise OneClassOnly(
            f"All {len(labels)} rows that {family.name} would learn from have one and the same label: nothing is told "
            "apart. Send images with other labels.",
            rows=len(labels),
            classes=1,
        )
    fitted = family.pipeline()
    fitted.fit(np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.str_))
    return fitted


def evaluate(labels: Sequence[str], named: Sequence[str], every: Sequence[str]) -> Evaluation:
    """Compare what rows are with what they were named.

    Args:
        labels: the truth, one a row.
        named: a model's answers, one a row.
        every: labels in the order in which the confusion matrix shows them; others are added behind.

    Raises:
        ValueError: not as many answers as rows.
    """
    pairs = Counter(zip(labels, named, strict=True))
    known = dict.fromkeys([*every, *sorted({label for pair in pairs for label in pair})])
    shown = tuple(known)
    confusion = tuple(tuple(pairs[(truth, answer)] for answer in shown) for truth in shown)
    right = sum(pairs[(label, label)] for label in shown)
    return Evaluation(shown, len(labels), right, confusion)
