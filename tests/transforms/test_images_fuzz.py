"""Images with bytes changed, cut, doubled and swapped are developed or refused with a reason, and never another error.

A first line without the processes around decoding: those hold what this would not (crashes, time, memory).
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transforms.image_decoding import Limits, Rejected
from transforms.images import Developed, develop, inspect, thumbnail

LIMITS = Limits(max_bytes=1024 * 1024, max_pixels=1_000_000)


def _sound() -> dict[str, bytes]:
    pixels = np.random.default_rng(5).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    found = {}
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        made = io.BytesIO()
        Image.fromarray(pixels).save(made, form)
        found[form] = made.getvalue()
    return found


SOUND = _sound()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound image with one to six things done to its bytes; its first ones, which say what it is, mostly stay."""
    body = bytearray(SOUND[draw(st.sampled_from(sorted(SOUND)))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        count = draw(st.sampled_from([1, 2, 4, 16, 200]))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            body[at : at + count] = draw(st.binary(min_size=count, max_size=count))
        elif kind == 1:
            del body[at : at + count]
        elif kind == 2:
            body[at:at] = body[at : at + count]
        elif kind == 3:
            body[at : at + count] = draw(st.sampled_from([b"\xff", b"\x00", b"\x7f"])) * count
        else:
            del body[at:]
    return bytes(body)


def judged(image: bytes) -> None:
    header = inspect(image, LIMITS)
    whole, small = develop(image, LIMITS), thumbnail(image, LIMITS)
    if isinstance(whole, Developed):
        assert not isinstance(header, Rejected) and not isinstance(small, Rejected)
        assert 0 < whole.width * whole.height <= LIMITS.max_pixels and whole.thumbnail
    else:
        assert whole.reason and whole.detail
        assert len(whole.detail) < 2000, "a sentence"


@settings(max_examples=400, deadline=None, derandomize=True)
@given(damaged())
def test_a_damaged_image_is_developed_or_refused_with_a_reason(image: bytes) -> None:
    judged(image)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from([body[:12] for body in SOUND.values()]), st.binary(max_size=300))
def test_anything_behind_a_signature_is_refused_with_a_reason(signature: bytes, rest: bytes) -> None:
    judged(signature + rest)


@pytest.mark.parametrize("form", sorted(SOUND))
def test_the_sound_ones_are_developed(form: str) -> None:
    assert isinstance(develop(SOUND[form], LIMITS), Developed)
