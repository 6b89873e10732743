"""One image, developed: its bytes in, what the platform keeps of it out; or a reason why it is no good.

Pure: bytes in, values out, no file and no clock. `transforms.image_decoding` judges and decodes; here the picture is
measured and made a thumbnail. Run it in a process that may be killed and whose memory is limited
(`resources.decoding`): a header cannot tell what decoding costs. `MemoryError` is raised, never judged here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from transforms.image_decoding import Limits, Rejected, Small, decode_small, fit, harden_pillow, open_header

__all__ = ["Developed", "Header", "Limits", "Rejected", "develop", "harden_pillow", "inspect", "thumbnail"]

LUMA_SIDE = 128
"""Side in pixels of the square luma that hash, brightness and sharpness are taken from, so that they compare."""

# Against Pillow's defaults (80, 4): a quarter of the time, thumbnails a tenth larger.
_WEBP_QUALITY = 75
_WEBP_METHOD = 0


@dataclass(frozen=True)
class Header:
    """What an image says of itself: format (one of `TAKEN`), width and height in pixels as stored, not yet turned."""

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Developed:
    """What is kept of a good image.

    `width` and `height` are after the EXIF orientation. `perceptual_hash`: 16 hex digits (64-bit DCT hash).
    `brightness` is the mean luma (ITU-R 601-2), 0 to 255; `sharpness` the variance of the Laplacian (4 neighbours;
    Pech-Pacheco and others, 2000); both of a luma scaled to 128 x 128, so that images of any size compare.
    `thumbnail`: WebP, turned upright, without metadata, never larger than the image.
    """

    format: str
    bytes: int
    width: int
    height: int
    perceptual_hash: str
    brightness: float
    sharpness: float
    thumbnail: bytes


def inspect(image: bytes, limits: Limits) -> Header | Rejected:
    """Judge an image by size, signature and header alone; nothing is decoded.

    The door asks this before it takes an image. A good header does not make a good image: `develop` finds the rest.
    """
    opened = open_header(image, limits)
    if isinstance(opened, Rejected):
        return opened
    name, picture = opened
    return Header(name, *picture.size)


def develop(image: bytes, limits: Limits) -> Developed | Rejected:
    """Decode an image and take from it what the platform keeps.

    Args:
        image: the bytes as they were uploaded.
        limits: what an image may be.

    Raises:
        MemoryError: decoding asked for more memory than this process may have.
    """
    decoded = _decoded(image, limits)
    if isinstance(decoded, Rejected):
        return decoded
    name, small = decoded
    luma = small.picture.convert("L").resize((LUMA_SIDE, LUMA_SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(luma, dtype=np.float32)
    return Developed(
        format=name,
        bytes=len(image),
        width=small.width,
        height=small.height,
        perceptual_hash=str(imagehash.phash(luma)),
        brightness=float(pixels.mean(dtype=np.float64)),
        sharpness=_sharpness(pixels),
        thumbnail=_thumbnail(small, limits),
    )


def thumbnail(image: bytes, limits: Limits) -> bytes | Rejected:
    """The thumbnail alone: the very bytes, and the very verdict, of `develop`, without what else it measures.

    For those who name an image and keep nothing of it: hash and sharpness are a tenth of developing a photograph.

    Raises:
        MemoryError: as `develop` does.
    """
    decoded = _decoded(image, limits)
    return decoded if isinstance(decoded, Rejected) else _thumbnail(decoded[1], limits)


def _decoded(image: bytes, limits: Limits) -> tuple[str, Small] | Rejected:
    opened = open_header(image, limits)
    if isinstance(opened, Rejected):
        return opened
    name, picture = opened
    small = decode_small(image, name, picture, limits, max(limits.thumbnail_pixels, LUMA_SIDE))
    return small if isinstance(small, Rejected) else (name, small)


def _sharpness(luma: np.ndarray) -> float:
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(laplacian.var(dtype=np.float64))


def _thumbnail(small: Small, limits: Limits) -> bytes:
    picture, size = small.picture, fit(small.width, small.height, limits.thumbnail_pixels)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.HAMMING)
    # A fresh image: no EXIF, profile or text of the original can come along.
    clean = Image.new("RGB", picture.size)
    clean.paste(picture)
    target = io.BytesIO()
    clean.save(target, "WEBP", quality=_WEBP_QUALITY, method=_WEBP_METHOD)
    return target.getvalue()
