"""What bytes are, by their first bytes: a format that is taken, an image that is not taken, or no image at all.

The door and developing ask the same function, so that a name or a declared type never decides. Signatures are those of
the formats' own specifications. Only the first kilobyte is looked at, and nothing is decoded.

Limits: a signature is a claim, not a proof; `transforms.images` finds out whether the rest keeps it.
"""

from __future__ import annotations

import re
import struct

TAKEN: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that are developed, by their names in Pillow and in the column `format`."""

MEDIA_TYPES: dict[str, str] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "GIF": "image/gif",
}
"""Media type of each taken format."""

_HEAD = 1024

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)

_OTHER_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\x00\x00\x01\x00", "Windows icon"),
    (b"\x00\x00\x02\x00", "Windows cursor"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"IIBC", "JPEG XR"),
    (b"II\xbc", "JPEG XR"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance"),
    (b"DDS ", "DirectDraw surface"),
    (b"qoif", "QOI"),
    (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (b"IIRO", "Olympus raw"),
    (b"IIRS", "Olympus raw"),
    (b"IIU\x00", "Panasonic raw"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile"),
    (b"gimp xcf", "GIMP"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
)

_ISO_BRANDS: dict[bytes, str] = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"crx ": "Canon raw",
}

# A Netpbm signature is two letters; only with white space and a number behind them is it more than text.
_NETPBM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s")
# Atomic groups and a possessive repeat: a comment that was passed is never divided anew. Else `<!---->` a hundred times
# over is as many choices as 2**100, and one small upload holds its process for ever.
_SVG = re.compile(
    rb"^\s*+(<\?xml[^>]*\?>\s*+)?(?:(?><!--.*?-->|<!DOCTYPE\s+svg[^>]*>)\s*+)*+<(\w+:)?svg[\s>]",
    re.IGNORECASE | re.DOTALL,
)

_NOT_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"%!PS", "a PostScript document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"OggS", "an Ogg stream"),
    (b"ID3", "an MP3 file"),
    (b"PAR1", "a Parquet file"),
)
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def taken_format(image: bytes | memoryview) -> str | None:
    """The taken format whose signature the bytes bear, one of `TAKEN`, or None."""
    head = bytes(image[:32])
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    # 'BM' alone begins many a text: the size of the second header is one of eight numbers.
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADER_SIZES:
        return "BMP"
    return None


def other_image(image: bytes | memoryview) -> str | None:
    """The name of an image format that is known and not taken, or None."""
    head = bytes(image[:_HEAD])
    for signature, name in _OTHER_IMAGES:
        if head.startswith(signature):
            return name
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12])
    if _NETPBM.match(head):
        return "Netpbm"
    if _SVG.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "SVG"
    return None


def kind_of(image: bytes | memoryview) -> str:
    """What bytes without an image's signature look like, for a sentence: 'a PDF document', 'text', 'unknown bytes'."""
    head = bytes(image[:_HEAD])
    for signature, name in _NOT_IMAGES:
        if head.startswith(signature):
            return name
    if re.match(rb"\s*(<!doctype html|<html|<head|<body|<script)", head, re.IGNORECASE):
        return "an HTML page"
    if re.match(rb"\s*<\?xml", head):
        return "an XML document"
    if head and not re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        return "text"
    return "unknown bytes"


def webp_size(image: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas from its header (RFC 9649), or None where the header is not whole.

    Needed because Pillow's WebP decoder allocates the canvas while it opens.
    """
    head = bytes(image[:30])
    if len(head) < 30:
        return None
    chunk = head[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
