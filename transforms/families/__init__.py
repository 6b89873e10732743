"""The families of images that are named, one file each; how to add one is told in docs/recognition.md.

Training, promotion and both lanes of naming take the families from here, and so do the assets, jobs and sensors of
each. An image may be of several families, or of none.
"""

from __future__ import annotations

from transforms.families.digits import DIGITS
from transforms.families.dominant_colour import DOMINANT_COLOUR
from transforms.recognition import Family

__all__ = ["DIGITS", "DOMINANT_COLOUR", "FAMILIES"]

FAMILIES: tuple[Family, ...] = (DIGITS, DOMINANT_COLOUR)
