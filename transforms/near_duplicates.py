"""Which images look like an earlier one of their day: perceptual hashes compared by the bits they differ in.

Two 64-bit DCT hashes of unrelated photographs differ in 32 bits on average; a copy that was scaled, recompressed or
slightly toned differs in a few. At most `MOST_BITS` count as the same picture. Brute force with numpy: one image
against a million takes about 2 ms of CPU, less than decoding it; beyond that it wants an index by bands.

Limits: a hint for people, not an identity. Turned and cropped copies are not found. Tiny and flat images are left out:
below 32 pixels the hash's own grid is finer than the image, and every small digit would look like every other; a flat
image has no structure to compare.
"""

from __future__ import annotations

import numpy as np

MOST_BITS = 4
LEAST_SIDE = 32
LEAST_SHARPNESS = 1e-6
_BLOCK = 8192


def comparable(width: int, height: int, sharpness: float) -> bool:
    """Whether an image's hash says anything: its longer side has 32 pixels or more, and it is not one flat colour."""
    return max(width, height) >= LEAST_SIDE and sharpness > LEAST_SHARPNESS


def hash_bits(perceptual_hash: str) -> int:
    """The 64 bits of a hash written as 16 hex digits."""
    return int(perceptual_hash, 16)


def first_matches(new: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each new hash the index of the first hash that looks the same, or -1.

    Candidates are all of `known`, in its order, then the new ones before itself. The order is the caller's, and with it
    who counts as the earliest.

    Args:
        new: uint64, shape (m,); counted on from the end of `known` in the answer.
        known: uint64, shape (n,).

    Returns:
        int64, shape (m,): an index below n is in `known`, n + k is the k-th new one.
    """
    found = np.full(len(new), -1, dtype=np.int64)
    for start in range(0, len(known), _BLOCK):
        open_rows = np.flatnonzero(found < 0)
        if not len(open_rows):
            return found
        near = _near(new[open_rows], known[start : start + _BLOCK])
        hit = near.any(axis=1)
        found[open_rows[hit]] = start + near[hit].argmax(axis=1)
    for start in range(0, len(new), _BLOCK):
        near = _near(new, new[start : start + _BLOCK])
        # Only those before itself: row i may match new image j where j < i.
        columns = np.arange(start, start + near.shape[1])
        near &= columns[None, :] < np.arange(len(new))[:, None]
        hit = near.any(axis=1) & (found < 0)
        found[hit] = len(known) + start + near[hit].argmax(axis=1)
    return found


def _near(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.bitwise_count(left[:, None] ^ right[None, :]) <= MOST_BITS
