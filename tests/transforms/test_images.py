"""Developing one image: what is kept of good ones, and which reason bad ones get."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cli.hostile import HostileKind, hostile_kinds, sound_jpeg, sound_png
from transforms.image_formats import TAKEN, kind_of, other_image, taken_format
from transforms.images import Developed, Header, Limits, Rejected, develop, harden_pillow, inspect, thumbnail
from transforms.near_duplicates import MOST_BITS, comparable, first_matches, hash_bits
from transforms.reasons import SENTENCES, Reason

LIMITS = Limits(max_bytes=10 * 1024 * 1024, max_pixels=50_000_000)
KINDS = {kind.name: kind for kind in hostile_kinds()}
AS_IMAGES = [
    kind for kind in KINDS.values() if kind.body is not None and (not kind.straight or kind.name == "too-large")
]


@pytest.fixture(autouse=True, scope="module")
def hardened() -> None:
    harden_pillow(LIMITS.max_pixels)


def photograph(width: int = 640, height: int = 427) -> Image.Image:
    """A picture with structure at many scales: light at the top left, dark stripes, one bright disc."""
    y, x = np.mgrid[0:height, 0:width]
    base = 180 - 120 * (x / width) * (y / height) + 30 * np.sin(x / 17) * np.cos(y / 29)
    disc = ((x - width * 0.7) ** 2 + (y - height * 0.3) ** 2) < (height * 0.15) ** 2
    red, green = np.where(disc, 250, base), np.where(disc, 240, base * 0.9)
    return Image.fromarray(np.clip(np.stack([red, green, base * 0.6], axis=-1), 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()


def good(image: bytes, limits: Limits = LIMITS) -> Developed:
    developed = develop(image, limits)
    assert isinstance(developed, Developed), developed
    return developed


@pytest.mark.parametrize("kind", AS_IMAGES, ids=lambda kind: kind.name)
def test_every_hostile_kind_gets_the_reason_it_is_made_for(kind: HostileKind) -> None:
    assert kind.body is not None
    verdict = develop(kind.body, LIMITS)
    said = verdict.reason.value if isinstance(verdict, Rejected) else "processed"
    assert said in kind.expected, verdict


def test_the_truncated_jpeg_is_one_that_verify_lets_pass() -> None:
    body = KINDS["truncated-jpeg"].body
    assert body is not None
    Image.open(io.BytesIO(body)).verify()
    assert develop(body, LIMITS) == Rejected(Reason.TRUNCATED, develop(body, LIMITS).detail)  # type: ignore[union-attr]


def test_hostile_kinds_are_the_same_every_time_and_small_enough_to_travel() -> None:
    assert hostile_kinds() == list(KINDS.values())
    assert len(KINDS) == len(hostile_kinds()), "two kinds share a name"
    assert {expected for kind in KINDS.values() for expected in kind.expected} <= {*Reason, "processed"}
    assert len(KINDS["huge-png"].body or b"") < 200_000


def test_bombs_are_turned_away_by_their_header_without_memory_for_their_pixels() -> None:
    # In a process that may have 300 MB more than it starts with: the smallest bomb would ask for 800.
    script = """
import resource, sys
from cli.hostile import hostile_kinds
from transforms.images import Limits, develop, harden_pillow
harden_pillow(50_000_000)
bombs = [kind for kind in hostile_kinds() if "too_many_pixels" in kind.expected]
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 300 * 2**20,) * 2)
for kind in bombs:
    print(kind.name, develop(kind.body, Limits(10 * 2**20, 50_000_000)).reason)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.endswith("too_many_pixels") for line in lines), lines


@pytest.mark.parametrize("format", TAKEN)
def test_each_format_that_is_taken_is_developed(format: str) -> None:
    developed = good(encoded(photograph(), format))
    assert (developed.format, developed.width, developed.height) == (format, 640, 427)


def test_the_same_picture_looks_the_same_in_every_format() -> None:
    hashes = [hash_bits(good(encoded(photograph(), format)).perceptual_hash) for format in TAKEN]
    assert max((one ^ hashes[0]).bit_count() for one in hashes) <= MOST_BITS


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied_to_size_and_thumbnail(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Stored so that, turned upright, the bright disc stands at the top right.
    upright = photograph()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    developed = good(encoded(stored, format, exif=exif))
    assert (developed.width, developed.height) == (640, 427)
    shown = Image.open(io.BytesIO(developed.thumbnail)).convert("L")
    assert shown.size == (256, 171)
    grey = np.asarray(shown, dtype=int)
    assert grey[51, 179] > 200, "the disc is not at the top right"
    assert grey[120, 77] < 200


@pytest.mark.parametrize("format", TAKEN)
def test_the_thumbnail_alone_is_the_very_one_of_developing(format: str) -> None:
    # The sub-second lane takes its features from the one, the batch lane from the other.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = photograph(900, 601)
    pictures = [picture, picture.convert("L"), photograph(1, 300), photograph(8, 8), photograph(100, 2000)]
    images = [encoded(one, format, **({} if format in ("BMP", "GIF") else {"exif": exif})) for one in pictures]
    assert [thumbnail(image, LIMITS) for image in images] == [good(image).thumbnail for image in images]


@pytest.mark.parametrize("kind", AS_IMAGES, ids=lambda kind: kind.name)
def test_asked_for_the_thumbnail_alone_a_hostile_kind_gets_the_verdict_of_developing(kind: HostileKind) -> None:
    assert kind.body is not None
    verdict = develop(kind.body, LIMITS)
    expected = verdict if isinstance(verdict, Rejected) else verdict.thumbnail
    assert thumbnail(kind.body, LIMITS) == expected


def test_the_thumbnail_carries_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x8298] = "a camera", "a name"
    comment = b"someone was here"
    developed = good(encoded(photograph(), "JPEG", exif=exif, icc_profile=b"profile" * 20, comment=comment))
    for trace in (b"EXIF", b"ICCP", b"XMP", b"a camera", b"a name", comment):
        assert trace not in developed.thumbnail


def test_thumbnails_keep_the_shape_and_are_never_larger_than_the_image() -> None:
    assert Image.open(io.BytesIO(good(encoded(photograph(2000, 500), "JPEG")).thumbnail)).size == (256, 64)
    assert Image.open(io.BytesIO(good(encoded(photograph(8, 8), "PNG")).thumbnail)).size == (8, 8)
    assert Image.open(io.BytesIO(good(encoded(photograph(3000, 2), "PNG")).thumbnail)).size == (256, 1)
    small = Limits(LIMITS.max_bytes, LIMITS.max_pixels, thumbnail_pixels=32)
    assert Image.open(io.BytesIO(good(encoded(photograph(), "JPEG"), small).thumbnail)).size == (32, 21)


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("P", "GIF"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "TIFF"),
        ("LAB", "TIFF"),
        ("F", "TIFF"),
        ("I", "TIFF"),
        ("RGBA", "WEBP"),
    ],
)
def test_every_way_to_store_colour_gives_about_the_same_brightness(mode: str, format: str) -> None:
    expected = good(encoded(photograph(), "PNG")).brightness
    assert good(encoded(photograph().convert(mode), format)).brightness == pytest.approx(expected, abs=12)


def test_sixteen_bits_are_read_by_their_high_byte() -> None:
    grey = np.asarray(photograph().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 256)
    assert good(encoded(deep, "PNG")).brightness == pytest.approx(
        good(encoded(Image.fromarray(grey), "PNG")).brightness, abs=1
    )


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert good(encoded(clear, "PNG")).brightness == 255


def test_an_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("L", (40, 40), shade) for shade in (200, 10, 10)]
    developed = good(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert developed.brightness == pytest.approx(200, abs=2)


def test_sharpness_falls_with_blur_whatever_the_size() -> None:
    from PIL import ImageFilter

    for width, height in ((320, 240), (1600, 1200)):
        noise = Image.effect_noise((width // 8, height // 8), 80).resize((width, height), Image.Resampling.NEAREST)
        blurred = noise.filter(ImageFilter.GaussianBlur(width // 40))
        assert good(encoded(noise, "PNG")).sharpness > 3 * good(encoded(blurred, "PNG")).sharpness


def test_one_byte_too_many_is_too_large_and_one_pixel_too_many_is_too_many() -> None:
    image = sound_png(100, 100)
    assert isinstance(develop(image, Limits(len(image), 10_000)), Developed)
    over = develop(image, Limits(len(image) - 1, 10_000))
    assert isinstance(over, Rejected) and over.reason is Reason.TOO_LARGE
    over = develop(image, Limits(len(image), 9_999))
    assert isinstance(over, Rejected) and over.reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("format", TAKEN)
def test_no_prefix_of_an_image_raises(format: str) -> None:
    image = encoded(photograph(96, 64), format)
    for end in range(0, len(image) - 1, max(1, len(image) // 60)):
        verdict = develop(image[:end], LIMITS)
        # What is cut in the last bytes may hold all pixels: PNG's end mark, TIFF's tags.
        if end < len(image) * 3 // 4:
            assert isinstance(verdict, Rejected), end
            assert verdict.reason in (Reason.TRUNCATED, Reason.CORRUPT, Reason.EMPTY, Reason.NOT_AN_IMAGE)


@pytest.mark.parametrize("format", TAKEN)
def test_no_damage_to_a_byte_raises(format: str) -> None:
    image = encoded(photograph(64, 48), format)
    generator = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(image)
        for at in generator.integers(0, len(image), size=3):
            damaged[at] = int(generator.integers(0, 256))
        assert isinstance(develop(bytes(damaged), LIMITS), Developed | Rejected)


def test_the_header_alone_is_judged_like_the_whole_where_it_says_enough() -> None:
    assert inspect(sound_jpeg(320, 240), LIMITS) == Header("JPEG", 320, 240)
    for name in ("pdf", "svg", "huge-png", "webp-bomb", "empty"):
        kind = KINDS[name]
        assert kind.body is not None
        verdict = inspect(kind.body, LIMITS)
        assert isinstance(verdict, Rejected) and verdict.reason in kind.expected


def test_a_name_of_a_format_is_found_only_by_its_bytes() -> None:
    assert taken_format(b"BM is how this sentence begins") is None
    assert other_image(b"P5 is a paper size") is None
    assert other_image(b"P5\n# made by hand\n12 8\n255\n") == "Netpbm"
    assert other_image(b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<svg width='1'>") == "SVG"
    assert kind_of(b"%PDF-1.7") == "a PDF document"


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)


def test_near_duplicates_name_the_earliest_that_looks_the_same() -> None:
    high = 0xFF << 56
    known = np.array([0xF, 0xE, high], dtype=np.uint64)
    new = np.array([0xFF00, 0x7, high | 7, high | 7 | 3 << 40], dtype=np.uint64)
    # 12 bits from the first known one, 1 from the first, 3 from the third, 5 from the third but 2 from a new one.
    assert first_matches(new, known).tolist() == [-1, 0, 2, len(known) + 2]


def test_near_duplicates_do_not_look_forward() -> None:
    new = np.array([5, 5, 5], dtype=np.uint64)
    assert first_matches(new, np.empty(0, dtype=np.uint64)).tolist() == [-1, 0, 0]


def test_near_duplicates_over_many_blocks_agree_with_counting_bits_one_by_one() -> None:
    generator = np.random.default_rng(3)
    known = generator.integers(0, 2**63, size=20_000, dtype=np.uint64)
    new = np.concatenate(
        [known[[19_999, 8_192, 8_191]] ^ np.uint64(0b101), generator.integers(0, 2**63, size=5, dtype=np.uint64)]
    )
    expected = [
        next((i for i, k in enumerate(known.tolist()) if (k ^ n).bit_count() <= MOST_BITS), -1) for n in new.tolist()
    ]
    assert first_matches(new, known).tolist() == expected
    assert expected[:3] == [19_999, 8_192, 8_191]


def test_tiny_and_flat_images_are_not_compared() -> None:
    assert not comparable(8, 8, 900.0)
    assert not comparable(640, 480, 0.0)
    assert comparable(32, 4, 1.0)


def test_a_scaled_and_recompressed_copy_is_a_near_duplicate_and_another_picture_is_not() -> None:
    one = hash_bits(good(encoded(photograph(1280, 854), "JPEG", quality=95)).perceptual_hash)
    copy = hash_bits(good(encoded(photograph(1280, 854).resize((500, 333)), "WEBP", quality=60)).perceptual_hash)
    other = hash_bits(good(sound_jpeg(1280, 854)).perceptual_hash)
    assert (one ^ copy).bit_count() <= MOST_BITS
    assert (one ^ other).bit_count() > MOST_BITS
