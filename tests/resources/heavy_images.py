"""Good images that cost more than a low limit lets them: all that is wrong is the time or memory that they take."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def slow_png() -> bytes:
    """A good PNG of 49 megapixels in 50 kB, and about half a second of work."""
    width = height = 7000
    squeezer = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    pixels = b"".join([*(squeezer.compress(row) for _ in range(height)), squeezer.flush()])

    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def hungry_png() -> bytes:
    """A good PNG of 9000 x 5500 pixels with an alpha channel: 200 MB decoded, and as much again to scale it."""
    target = io.BytesIO()
    Image.new("LA", (9000, 5500)).save(target, "PNG", compress_level=1)
    return target.getvalue()
