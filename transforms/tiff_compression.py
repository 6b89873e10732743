"""How a TIFF is compressed, by its own words, and whether that is taken.

Why: libtiff's decoder of fax group 4 takes a strip that ends early, or breaks off at a code that is none, for a whole
one, and leaves the rest of it as memory was: bits of what this process held before, which may be another person's
image, in a thumbnail. It says nothing of it that could be asked for. So compressions are taken whose decoders were
seen to fill, or refuse, what was damaged (tests/transforms/test_tiff_compression.py), and no others.

The directory is read here, for Pillow and libtiff read it each in their own way: of a tag that stands twice one
believes the last, the other the first. Pure.
"""

from __future__ import annotations

import struct

from transforms.reasons import Reason

TAKEN: dict[int, str] = {
    1: "none",
    2: "CCITT",
    3: "fax group 3",
    5: "LZW",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    50000: "Zstandard",
}
"""Compressions that are taken, by the number in the file (TIFF 6.0, section 8, and later registrations)."""

_COMPRESSION = 259
_SHORT = 3


def refusal(image: bytes) -> tuple[Reason, str] | None:
    """Why the first picture of a TIFF is not decoded, by reason and sentence; None where nothing speaks against it."""
    try:
        said = _said(image)
    except struct.error:
        return Reason.CORRUPT, "The TIFF's directory points past the end of the file."
    if not said:
        return None  # none, by default
    kind, count, number = said[0]
    if len(said) > 1 or (kind, count) != (_SHORT, 1):
        return Reason.CORRUPT, "The TIFF does not say its compression once, as one short number."
    if number not in TAKEN:
        what = "fax group 4" if number == 4 else f"number {number}"
        taken = ", ".join(dict.fromkeys(TAKEN.values()))
        return Reason.UNSUPPORTED_FORMAT, f"The TIFF's compression is {what}; taken are {taken}."
    return None


def _said(image: bytes) -> list[tuple[int, int, int]]:
    """Type, count and value of each entry of the first directory that says a compression."""
    order = "<" if image[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", image, 2)[0] == 43:  # BigTIFF
        (start,) = struct.unpack_from(f"{order}Q", image, 8)
        counted, entry = struct.Struct(f"{order}Q"), struct.Struct(f"{order}HHQH6x")
    else:
        (start,) = struct.unpack_from(f"{order}I", image, 4)
        counted, entry = struct.Struct(f"{order}H"), struct.Struct(f"{order}HHIH2x")
    if start > len(image):
        raise struct.error("past the end")
    (entries,) = counted.unpack_from(image, start)
    first = start + counted.size
    if first + entries * entry.size > len(image):
        raise struct.error("past the end")
    every = entry.iter_unpack(memoryview(image)[first : first + entries * entry.size])
    return [(kind, count, value) for tag, kind, count, value in every if tag == _COMPRESSION]
