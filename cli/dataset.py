"""The images of the demo, all from scikit-learn's own package: 1,797 scans of handwritten digits and two photographs.

The digits are the test part of the UCI data set "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak):
8 x 8 pixels of 17 grey levels, written by 13 people. Nine in ten travel with their label; the tenth, chosen by
content hash so that it is the same everywhere and leans towards no digit, is for a classifier to name. The
photographs are china.jpg and flower.jpg (CC BY 2.0, authors in the package's README.txt).

Limit: the pixels are stored uncompressed in the PNG, so that the bytes do not hang on a version of zlib; another
encoder could still write other bytes, and the demo would then count all digits as new.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

DIGITS = 1797
UNLABELLED = 180
"""Digits without a label: one in ten."""
PHOTOGRAPHS = ("china.jpg", "flower.jpg")


@dataclass(frozen=True)
class MemoryItem:
    """An image in memory, to be sent under a name."""

    name: str
    image: bytes = field(repr=False)
    label: str | None = None
    filename: str | None = None
    truth: str | None = None
    """What it shows; nobody is told."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.image)

    def read(self) -> bytes:
        """The image's bytes."""
        return self.image


def digits() -> list[MemoryItem]:
    """The 1,797 digits as 8-bit grey PNG, in the data set's order; 180 of them without a label."""
    # scikit-learn takes seconds to import, and only this needs it.
    from sklearn.datasets import load_digits

    found: Any = load_digits()  # a Bunch, whose attributes no type checker knows
    images = [_png(pixels) for pixels in found.images]
    unlabelled = set(sorted(sha256(image).hexdigest() for image in images)[:UNLABELLED])
    items = []
    for index, (image, target) in enumerate(zip(images, found.target, strict=True)):
        name = f"digit-{index:04d}.png"
        label = None if sha256(image).hexdigest() in unlabelled else str(int(target))
        items.append(MemoryItem(name, image, label, name, str(int(target))))
    return items


def photographs() -> list[MemoryItem]:
    """The two sample photographs, as the JPEG files that scikit-learn ships."""
    from importlib.resources import files

    folder = files("sklearn.datasets.images")
    return [MemoryItem(name, (folder / name).read_bytes(), None, name) for name in PHOTOGRAPHS]


def _png(pixels: object) -> bytes:
    """One digit, 8 x 8 of 0 (paper) to 16 (ink), as a PNG of 0 to 255."""
    import numpy as np
    from PIL import Image

    scaled = np.rint(np.asarray(pixels) * (255 / 16)).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(scaled).save(written, "PNG", compress_level=0)
    return written.getvalue()
