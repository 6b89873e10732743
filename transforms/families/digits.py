"""Handwritten digits, as scikit-learn ships them and the demo sends them: small scans without colour.

Limits: a digit photographed large is not admitted, for the model learned from scans; whatever else is small and without
colour is admitted, and named as a digit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.colour_terms import COLOURLESS, TERMS
from transforms.features import COLOUR, FULL_SIZE, LUMA, SIZE
from transforms.recognition import Family

# Pixels; the sets of digits in use have 8 (UCI), 16 (USPS) or 28 (MNIST).
LONGEST_SIDE = 32
# Share of the pixels that are black, grey or white; the rest is room for what saving as JPEG adds.
LEAST_COLOURLESS = 0.98

_COLOURLESS = [COLOUR.start + TERMS.index(term) for term in COLOURLESS]


def is_small_scan(vector: np.ndarray) -> bool:
    """Whether an image, by its whole vector, is at most 32 pixels wide and high, and without colour."""
    return bool(vector[SIZE].max() * FULL_SIZE <= LONGEST_SIDE and vector[_COLOURLESS].sum() >= LEAST_COLOURLESS)


def take_digit(label: bytes) -> str | None:
    """The digit in a label, spaces around it aside; None for any other word, number or bytes."""
    text = label.strip()
    return text.decode("ascii") if len(text) == 1 and text.isdigit() else None


def _pipeline() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # lbfgs starts at zero: no seed is needed for the same model. C by validation on the digits: .97, and .94 at C = 1.
    return make_pipeline(
        ColumnTransformer([("luma", StandardScaler(), LUMA)]),
        LogisticRegression(C=0.1, solver="lbfgs", max_iter=1000),
    )


DIGITS = Family(
    name="digit_classifier",
    recipe="scaled-logistic-2",
    labels=tuple("0123456789"),
    pipeline=_pipeline,
    admits=is_small_scan,
    take=take_digit,
)
