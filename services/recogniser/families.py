"""Which families of images this lane names, and which of them looks at an image."""

from __future__ import annotations

import numpy as np

from transforms.recognition import DIGITS, Family

FAMILIES: tuple[Family, ...] = (DIGITS,)


def admits(family: Family, vector: np.ndarray) -> bool:
    """Whether the family's model is asked about an image of these features, float32[194]."""
    return True
