"""One of each kind of hostile record, made in memory: what the demo sends besides good images, and what tests send.

Every kind is a fixed construction from numbers, so that no hostile file lies in the repository. Small as they are,
some ask for gigabytes when decoded carelessly: hand them to nothing but the platform.

Limits: the good images inside come from Pillow's encoder, so that bytes may differ between its versions, not within
one.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache

from transforms.reasons import Reason

PROCESSED = "processed"
"""In `expected`: the platform develops it; what is hostile about it never leaves the sealed bytes."""

TOO_LARGE_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True)
class HostileKind:
    """A record that no platform should trip over.

    Attributes:
        name: of the kind.
        filename: what its sender calls it.
        content_type: what its sender says it is.
        body: its bytes; None is a record with a null value.
        expected: reason codes that may come of it, or `PROCESSED`.
        headers: Kafka headers.
        key: Kafka key.
        straight: no HTTP request can carry it: it is written to the topic.
    """

    name: str
    filename: str
    content_type: str
    body: bytes | None
    expected: frozenset[str]
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    straight: bool = False


def hostile_kinds() -> list[HostileKind]:
    """All kinds, in a fixed order. Takes about a second and 30 MB."""
    return [*_no_images(), *_broken(), *_bombs(), *_disguised(), *_straight()]


def sound_jpeg(width: int = 320, height: int = 240) -> bytes:
    """A good JPEG with some structure in it, the base of several kinds."""
    return _encoded("JPEG", width, height)


def sound_png(width: int = 320, height: int = 240) -> bytes:
    """A good PNG with some structure in it."""
    return _encoded("PNG", width, height)


@cache
def _encoded(format: str, width: int, height: int) -> bytes:
    from PIL import Image

    # Structure at every scale and no symmetry, so that it has a telling perceptual hash too.
    fractal = Image.effect_mandelbrot((width, height), (-1.6, -0.9, 0.6, 1.1), 60)
    slope = Image.linear_gradient("L").rotate(90).resize((width, height))
    picture = Image.merge("RGB", (fractal, slope, slope.transpose(Image.Transpose.ROTATE_180)))
    target = io.BytesIO()
    picture.save(target, format)
    return target.getvalue()


def _kind(
    name: str, filename: str, content_type: str, body: bytes | None, *expected: Reason | str, straight: bool = False
) -> HostileKind:
    return HostileKind(name, filename, content_type, body, frozenset(map(str, expected)), straight=straight)


def _no_images() -> list[HostileKind]:
    html = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>"
    pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><rect width="9" height="9"/></svg>'
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, 40, 22) + bytes(40)
    heic = struct.pack(">I4s4sI4s", 24, b"ftyp", b"heic", 0, b"mif1") + bytes(4)
    return [
        _kind("empty", "empty.jpg", "image/jpeg", b"", Reason.EMPTY),
        _kind("pdf", "invoice.jpg", "image/jpeg", pdf, Reason.NOT_AN_IMAGE),
        _kind("html", "holiday.jpg", "image/jpeg", html, Reason.NOT_AN_IMAGE),
        _kind("text", "notes.png", "image/png", b"no picture, just words\n" * 40, Reason.NOT_AN_IMAGE),
        _kind("zip", "album.png", "image/png", b"PK\x03\x04" + bytes(200), Reason.NOT_AN_IMAGE),
        _kind("noise", "noise.bin", "image/webp", _noise(4096), Reason.NOT_AN_IMAGE),
        _kind("svg", "logo.svg", "image/svg+xml", svg, Reason.UNSUPPORTED_FORMAT),
        _kind("icon", "favicon.ico", "image/x-icon", icon, Reason.UNSUPPORTED_FORMAT),
        _kind("heic", "phone.heic", "image/heic", heic + bytes(400), Reason.UNSUPPORTED_FORMAT),
    ]


def _broken() -> list[HostileKind]:
    jpeg, png = sound_jpeg(), sound_png()
    tables = jpeg.index(b"\xff\xc4")
    huffman = jpeg[: tables + 5] + b"\xff" * 16 + jpeg[tables + 21 :]
    middle = png.index(b"IDAT") + 60
    return [
        # Pillow's verify() finds nothing wrong with it.
        _kind("truncated-jpeg", "cut.jpg", "image/jpeg", jpeg[: len(jpeg) * 2 // 3], Reason.TRUNCATED),
        _kind("truncated-png", "cut.png", "image/png", png[: len(png) // 2], Reason.TRUNCATED),
        _kind("corrupt-jpeg", "tables.jpg", "image/jpeg", huffman, Reason.CORRUPT),
        _kind(
            "corrupt-png",
            "flipped.png",
            "image/png",
            png[:middle] + bytes(byte ^ 0xFF for byte in png[middle : middle + 40]) + png[middle + 40 :],
            Reason.CORRUPT,
        ),
        _kind("header-only-png", "stub.png", "image/png", png[:20], Reason.CORRUPT, Reason.TRUNCATED),
        _kind("no-pixels-png", "nothing.png", "image/png", _png(0, 0, b""), Reason.CORRUPT),
    ]


def _bombs() -> list[HostileKind]:
    row = bytes(1 + 30_000 // 8)
    squeezer = zlib.compressobj(9)
    pixels = b"".join([*(squeezer.compress(row) for _ in range(30_000)), squeezer.flush()])
    text = b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(64 * 1024 * 1024), 9)
    vp8x = b"VP8X" + struct.pack("<II", 10, 0) + (16_382).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x
    return [
        _kind(
            "huge-png", "map.png", "image/png", _png(30_000, 30_000, pixels, bits=1, colour=0), Reason.TOO_MANY_PIXELS
        ),
        _kind(
            "text-bomb-png", "caption.png", "image/png", _png(1, 1, zlib.compress(b"\0\0\0\0"), text), Reason.CORRUPT
        ),
        _kind("gif-bomb", "banner.gif", "image/gif", _gif((60_000, 60_000), (60_000, 60_000)), Reason.TOO_MANY_PIXELS),
        _kind("gif-frame-bomb", "dot.gif", "image/gif", _gif((9, 9), (60_000, 60_000)), Reason.TOO_MANY_PIXELS),
        _kind("tiff-bomb", "scan.tif", "image/tiff", _tiff(60_000, 60_000), Reason.TOO_MANY_PIXELS),
        _kind("webp-bomb", "photo.webp", "image/webp", webp, Reason.TOO_MANY_PIXELS),
        _kind(
            "bmp-bomb",
            "paint.bmp",
            "image/bmp",
            b"BM"
            + struct.pack("<IHHI", 54, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, *[0] * 6),
            Reason.TOO_MANY_PIXELS,
        ),
        _kind("lying-jpeg-huge", "wide.jpg", "image/jpeg", _resized(65_000, 65_000), Reason.TOO_MANY_PIXELS),
    ]


def _disguised() -> list[HostileKind]:
    return [
        _kind("lying-jpeg-larger", "more.jpg", "image/jpeg", _resized(3000, 4000), Reason.TRUNCATED, Reason.CORRUPT),
        _kind("lying-jpeg-smaller", "less.jpg", "image/jpeg", _resized(16, 16), Reason.CORRUPT),
        _kind(
            "png-with-script",
            "two-faced.png",
            "image/png",
            sound_png() + b"<script>alert(document.cookie)</script>PK\x05\x06" + bytes(18),
            PROCESSED,
        ),
        _kind("png-named-gif", "false-name.gif", "image/gif", sound_png(64, 48), PROCESSED),
        _kind(
            "gif-script",
            "code.gif",
            "image/gif",
            b"GIF89a/*" + bytes(24) + b"*/=1;alert(1)",
            Reason.CORRUPT,
            Reason.TRUNCATED,
        ),
    ]


def _straight() -> list[HostileKind]:
    """Kinds that no door lets through: they are written to the topic by whoever may."""
    good = sound_png(96, 64)
    day, person, suffix = b"2001-01-01", b"a" * 16, b"b" * 13
    clear = (
        ("v", b"1"),
        ("id", b"c" * 26),
        ("day", day),
        ("key", b"_".join((day, person, suffix))),
        ("via", b"uploads"),
    )
    name, kind = "direct.png", "image/png"

    def headers(
        reason: Reason, title: str, given: tuple[tuple[str, bytes], ...], key: bytes | None = None
    ) -> HostileKind:
        return HostileKind(title, name, kind, good, frozenset({str(reason)}), given, key, straight=True)

    return [
        _kind("tombstone", name, kind, None, Reason.TOMBSTONE, straight=True),
        _kind("too-large", name, kind, sound_jpeg().ljust(TOO_LARGE_BYTES, b"\0"), Reason.TOO_LARGE, straight=True),
        headers(Reason.HASH_MISMATCH, "hash-mismatch", (("sha256", b"00" * 32),)),
        headers(Reason.CORRUPT, "not-utf8", (("label", b"\xff\xfe\xfa"),), b"\xff\xfe\xfd"),
        headers(Reason.UNKNOWN_VERSION, "unknown-version", (("v", b"9"), *clear[1:])),
        headers(Reason.UNKNOWN_KEY, "unknown-key", clear),
        headers(Reason.TAMPERED, "headers-missing", clear[:2]),
    ]


def _noise(size: int) -> bytes:
    """Bytes without a pattern, the same every time; the first is no format's."""
    state, out = 1, bytearray(b"\x01")
    while len(out) < size:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out += struct.pack("<Q", state)
    return bytes(out[:size])


def _chunk(tag: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))


def _png(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes], bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(tag, body) for tag, body in chunks)


def _gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    palette = b"\x00\x00\x00\xff\xff\xff"
    pixels = b"\x02\x02\x4c\x01\x00"  # one pixel's worth of LZW data
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + palette
        + b","
        + struct.pack("<HHHHB", 0, 0, *frame, 0)
        + pixels
        + b";"
    )


def _tiff(width: int, height: int) -> bytes:
    """Little-endian TIFF, one deflated strip, one byte a pixel."""
    strip = zlib.compress(bytes(1024), 9)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, len(strip)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\x00" + struct.pack("<I", 8 + len(strip)) + strip + directory


def _resized(width: int, height: int) -> bytes:
    """The good JPEG with another size in its frame header."""
    jpeg = bytearray(sound_jpeg())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)
