"""Which of the eleven basic colour terms a pixel's colour is nearest to, and what share of a picture each one has.

The terms are those of B. Berlin and P. Kay (Basic Color Terms, 1969). What a term looks like is taken from R. Munroe's
colour survey (2010; 222,500 people naming colours on their screens; CC0): the colour most often given that name, and
those given it with "light" or "dark" in front. A pixel gets the term of its nearest such colour by distance in CIELAB
(CIE 1976, white point D65), reached from sRGB by IEC 61966-2-1.

Limits: distance in CIELAB is no model of how people name colours, and takes no account of what surrounds a pixel; skin
is mostly brown, orange or pink. Pure: pixels in, shares out.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SURVEY: dict[str, tuple[str, ...]] = {
    "black": ("000000",),
    "blue": ("0343df", "95d0fc", "00035b"),
    "brown": ("653700", "ad8150", "341c02"),
    "green": ("15b01a", "96f97b", "033500"),
    "grey": ("929591", "d8dcd6", "363737"),
    "orange": ("f97306", "fdaa48", "c65102"),
    "pink": ("ff81c0", "ffd1df", "cb416b"),
    "purple": ("7e1e9c", "bf77f6", "35063e"),
    "red": ("e50000", "ff474c", "840000"),
    "white": ("ffffff",),
    "yellow": ("ffff14", "fffe7a", "d5b60a"),
}
"""sRGB of each term, and of the light and the dark of it where people name those."""

TERMS = tuple(SURVEY)
COLOURLESS = ("black", "grey", "white")

# IEC 61966-2-1: linear sRGB to CIE XYZ, rows X, Y, Z; and D65 as that matrix has it.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)
_SHARE = np.arange(256) / 255
_LINEAR = np.where(_SHARE <= 0.04045, _SHARE / 12.92, ((_SHARE + 0.055) / 1.055) ** 2.4)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours.

    Args:
        rgb: uint8[..., 3].

    Returns:
        float64[..., 3]: L* (0 to 100), a*, b*.
    """
    ratio = _LINEAR[np.asarray(rgb)] @ _TO_XYZ.T / _WHITE
    delta = 6 / 29
    x, y, z = np.moveaxis(np.where(ratio > delta**3, np.cbrt(ratio), ratio / (3 * delta**2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def term_shares(rgb: np.ndarray) -> np.ndarray:
    """Share of the pixels that each term has, in the order of `TERMS`; they add up to 1.

    Args:
        rgb: uint8[..., 3], one pixel at least.

    Returns:
        float64[11].
    """
    shades, term_of = _palette()
    lab = to_lab(np.asarray(rgb).reshape(-1, 3))
    # Least squared distance without its part that all shades share: a tenth of the time.
    nearest = (lab @ shades.T - (shades**2).sum(axis=1) / 2).argmax(axis=1)
    return np.bincount(term_of[nearest], minlength=len(TERMS)) / len(lab)


@cache
def _palette() -> tuple[np.ndarray, np.ndarray]:
    """CIELAB of every colour of the survey, and the index of its term."""
    shades = [(index, bytes.fromhex(shade)) for index, term in enumerate(TERMS) for shade in SURVEY[term]]
    rgb = np.array([list(shade) for _, shade in shades], dtype=np.uint8)
    return to_lab(rgb), np.array([index for index, _ in shades])
