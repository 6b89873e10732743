"""What runs inside a decoding process: limits first, then images, and nothing else.

The process holds no key, no lake and no Dagster; it gets bytes and gives values back. Imports happen inside `start`,
for two reasons: thread counts must be set before numpy is loaded, and the memory limit counts from what the loaded
libraries already occupy (set before, RLIMIT_AS makes innocent imports fail).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from transforms.images import Developed, Limits, Rejected

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")

_limits: Limits | None = None


def start(max_bytes: int, max_pixels: int, thumbnail_pixels: int, memory_bytes: int) -> None:
    """Prepare this process: one thread, warm libraries, then at most `memory_bytes` more address space than now."""
    global _limits
    for name in _THREAD_SETTINGS:
        os.environ[name] = "1"
    import io

    from PIL import Image

    from transforms.features import features
    from transforms.images import Developed, Limits, develop, harden_pillow

    limits = Limits(max_bytes, max_pixels, thumbnail_pixels)
    harden_pillow(max_pixels)
    for name in ("JPEG", "PNG"):
        # One of each loads what is loaded late (scipy's transforms among it), so that the limit finds it in place.
        first = io.BytesIO()
        Image.new("RGB", (64, 48), "grey").save(first, name)
        developed = develop(first.getvalue(), limits)
        if isinstance(developed, Developed):
            features(developed.thumbnail)
    most = address_space() + memory_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    _limits = limits


def develop_chunk(images: Sequence[bytes]) -> list[Developed | Rejected]:
    """Develop images one after the other.

    Raises:
        MemoryError: one of them needed more than this process may have; which one is found by asking for each alone.
    """
    from transforms.images import develop

    limits = _started()
    return [develop(image, limits) for image in images]


def measure_chunk(images: Sequence[bytes]) -> list[np.ndarray | Rejected]:
    """The features of the thumbnails that developing gives; what the batch lane else keeps of an image is not made.

    Raises:
        MemoryError: as `develop_chunk` does.
    """
    from transforms.features import features
    from transforms.images import Rejected, thumbnail

    limits = _started()
    made = (thumbnail(image, limits) for image in images)
    return [one if isinstance(one, Rejected) else features(one) for one in made]


def _started() -> Limits:
    if _limits is None:
        raise RuntimeError("This process was not started by resources.decoding: it has no limits, and decodes nothing.")
    return _limits


def address_space() -> int:
    """Bytes of address space that this process occupies now (Linux: /proc/self/statm; elsewhere 0)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return 0
