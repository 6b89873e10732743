"""Numeric features of an image for learning, taken from its thumbnail: one vector of float32, the same everywhere.

The recipe `luma8-colour11-1` has three parts, which models pick columns of by `LUMA`, `COLOUR` and `SIZE`:

- luma: the thumbnail's luma (ITU-R 601-2) scaled to 8 x 8 by box filter, as 0 to 1; then the sizes of its steps to the
  right and downwards, which a linear model cannot take from the luma by itself and which raise the digits' accuracy
  from .95 to .97; then means of rows and columns, mean and standard deviation;
- colour: shares of its pixels by colour term (`transforms.colour_terms`), scaled to 32 x 32 by box filter before;
- size: width and height of the thumbnail, in `FULL_SIZE` pixels, at most 1.

All models get the whole vector, and read nothing else: what learns needs no image (docs/recognition.md).

A vector is only comparable with others of its recipe: a changed recipe gets another name, and everything that was
computed with the old one is computed anew. Limits: a picture much wider than high is squeezed; a thumbnail is never
larger than `thumbnail_pixels`, so that sizes say how small a small picture is and nothing of how large a large one was.
Pure: bytes in, numbers out.
"""

from __future__ import annotations

import io

import numpy as np

from transforms.colour_terms import TERMS, term_shares

RECIPE = "luma8-colour11-1"
SIDE = 8
COLOUR_SIDE = 32
FULL_SIZE = 256

LUMA = slice(0, SIDE * SIDE + 2 * SIDE * (SIDE - 1) + 2 * SIDE + 2)
"""64 of luma, 56 + 56 steps, 8 + 8 means, mean and deviation: 194 numbers."""
COLOUR = slice(LUMA.stop, LUMA.stop + len(TERMS))
"""Shares in the order of `transforms.colour_terms.TERMS`: 11 numbers that add up to 1."""
SIZE = slice(COLOUR.stop, COLOUR.stop + 2)
COUNT = SIZE.stop
"""Numbers in a vector; float32[207]."""

_STORED = np.dtype("<f4")


class FeaturesRefused(ValueError):
    """Bytes that are no thumbnail, or no stored vector, of this release."""


def features(thumbnail: bytes) -> np.ndarray:
    """The vector of one thumbnail: float32[207], each number between 0 and 1.

    Args:
        thumbnail: WebP, as `transforms.images.develop` makes it.

    Raises:
        FeaturesRefused: the bytes are no WebP picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(thumbnail), formats=("WEBP",)) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError) as error:
        raise FeaturesRefused(
            f"{len(thumbnail)} bytes are no WebP thumbnail ({type(error).__name__}); its features cannot be taken."
        ) from error
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    coloured = picture.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    # In double precision and rounded once, so that no order of summing shows in the stored numbers.
    luma = np.asarray(small, dtype=np.float64) / 255
    parts = (
        luma.ravel(),
        np.abs(np.diff(luma, axis=1)).ravel(),
        np.abs(np.diff(luma, axis=0)).ravel(),
        luma.mean(axis=0),
        luma.mean(axis=1),
        np.array([luma.mean(), luma.std()]),
        term_shares(np.asarray(coloured)),
        np.minimum(picture.size, FULL_SIZE) / FULL_SIZE,
    )
    return np.concatenate(parts).astype(np.float32)


def pack(vector: np.ndarray) -> bytes:
    """A vector as it is stored: little-endian float32, one after the other."""
    return np.ascontiguousarray(vector, dtype=_STORED).tobytes()


def unpack(stored: bytes) -> np.ndarray:
    """The vector that `pack` stored.

    Raises:
        FeaturesRefused: another number of values, so that it is of another recipe.
    """
    if len(stored) != COUNT * _STORED.itemsize:
        raise FeaturesRefused(
            f"A stored vector has {len(stored)} bytes; recipe {RECIPE} has {COUNT * _STORED.itemsize}. "
            "Materialize images/image_features to compute it anew."
        )
    return np.frombuffer(stored, dtype=_STORED).astype(np.float32)
