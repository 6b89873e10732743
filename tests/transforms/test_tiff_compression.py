"""TIFFs are taken where what is damaged is refused or filled, and shows nothing of the decoding process's memory."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from transforms.image_decoding import Limits, Rejected
from transforms.images import Developed, develop, inspect, thumbnail
from transforms.reasons import Reason
from transforms.tiff_compression import TAKEN

LIMITS = Limits(max_bytes=1024 * 1024, max_pixels=1_000_000)
WAYS = {
    "raw": (1, "RGB"),
    "tiff_ccitt": (2, "1"),
    "group3": (3, "1"),
    "tiff_lzw": (5, "RGB"),
    "jpeg": (7, "RGB"),
    "tiff_adobe_deflate": (8, "RGB"),
    "packbits": (32773, "L"),
    "tiff_deflate": (32946, "L"),
    "zstd": (50000, "RGB"),
}


def tiff(compression: str, mode: str, **how: object) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(made, "TIFF", compression=compression, **how)
    return made.getvalue()


def entries(image: bytes) -> dict[int, int]:
    """Where the entry of each tag stands."""
    (start,) = struct.unpack_from("<I", image, 4)
    (count,) = struct.unpack_from("<H", image, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return {struct.unpack_from("<H", image, at)[0]: at for at in places}


def with_entry(image: bytes, at: int, tag: int, kind: int, value: int) -> bytes:
    return image[:at] + struct.pack("<HHII", tag, kind, 1, value) + image[at + 12 :]


def shown(image: bytes) -> bytes | Reason:
    """The thumbnail or the reason, of a process whose memory holds other bytes each time."""
    chance = random.Random()
    held = [bytes([chance.randrange(256)]) * size for size in (200, 400, 1024, 3072, 9216) for _ in range(40)]
    del held
    found = thumbnail(image, LIMITS)
    return found.reason if isinstance(found, Rejected) else found


def test_every_compression_that_is_taken_is_tried_here() -> None:
    assert {number for number, _ in WAYS.values()} == set(TAKEN)


@pytest.mark.parametrize("compression", WAYS)
@pytest.mark.parametrize("how", [{}, {"big_tiff": True}], ids=["TIFF", "BigTIFF"])
def test_what_is_taken_is_developed(compression: str, how: dict[str, object]) -> None:
    assert isinstance(develop(tiff(compression, WAYS[compression][1], **how), LIMITS), Developed)


@pytest.mark.parametrize("compression", WAYS)
def test_a_damaged_one_that_is_taken_looks_the_same_each_time(compression: str) -> None:
    number, mode = WAYS[compression]
    sound, chance = tiff(compression, mode), random.Random(number)
    for _ in range(40):
        body = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            at, count = chance.randrange(len(body)), chance.choice([1, 1, 2, 8, 64])
            body[at : at + count] = chance.choice([chance.randbytes(count), bytes(count), b"\xff" * count])
        assert len({shown(bytes(body)) for _ in range(3)}) == 1, bytes(body)


@pytest.mark.parametrize("how", [{}, {"big_tiff": True}], ids=["TIFF", "BigTIFF"])
def test_fax_group_4_is_not_taken_whole_or_damaged(how: dict[str, object]) -> None:
    """Its decoder takes a strip that ends early for a whole one, and shows what was in memory behind it."""
    sound = tiff("group4", "1", **how)
    for image in (sound, sound[:20] + b"\x00\x10\x01" * 20 + sound[80:]):
        refused = inspect(image, LIMITS)
        assert isinstance(refused, Rejected) and refused.reason is Reason.UNSUPPORTED_FORMAT
        assert "fax group 4" in refused.detail and "Zstandard" in refused.detail
        assert develop(image, LIMITS) == thumbnail(image, LIMITS) == refused


def test_a_compression_that_is_said_twice_is_refused_for_decoders_believe_different_ones() -> None:
    image = tiff("group4", "1")
    both = with_entry(image, entries(image)[284], 259, 3, 5)
    assert Image.open(io.BytesIO(both)).info["compression"] == "tiff_lzw", "Pillow believes the last"
    assert _reason(both) is Reason.CORRUPT


@pytest.mark.parametrize("kind", [1, 4, 16])
def test_a_compression_that_is_no_short_number_is_refused(kind: int) -> None:
    image = tiff("tiff_lzw", "RGB")
    assert _reason(with_entry(image, entries(image)[259], 259, kind, 5)) is Reason.CORRUPT


def test_a_number_that_nobody_registered_is_refused() -> None:
    image = tiff("tiff_lzw", "RGB")
    assert _reason(with_entry(image, entries(image)[259], 259, 3, 4711)) in (Reason.CORRUPT, Reason.UNSUPPORTED_FORMAT)


def _reason(image: bytes) -> Reason:
    refused = develop(image, LIMITS)
    assert isinstance(refused, Rejected), refused
    return refused.reason
