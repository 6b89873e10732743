"""From an image's bytes to a small upright picture, or to the reason why there is none.

Cheap questions come first: size in bytes, signature, then the header's width and height. Only what passes is decoded.
JPEG is decoded at the smallest n/8 of its size that still suffices, by libjpeg-turbo (simplejpeg), which costs a
fraction of a full decode and, being strict, says when data end early (`verify()` of Pillow does not); what it does
not take goes to Pillow, as do the five other formats.

Limits: 16-bit and floating-point images are brought to 8 bits; transparency is laid on white; animated images give
their first frame, TIFF its first page; colour profiles are not applied.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg

# Named one by one: Pillow would otherwise load every decoder it has to find these.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from transforms import tiff_compression
from transforms.image_formats import TAKEN, kind_of, other_image, taken_format, webp_size
from transforms.reasons import Reason

# What Pillow and its codecs raise on bytes that break their format; seen over fuzzed files of every format.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_ENDS_EARLY = ("truncated", "premature end", "not enough image data", "unexpected end", "end of file")
_OUT_OF_MEMORY = ("memory", "alloc")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """What one image may be: bytes, pixels (width x height), and the longest side of its thumbnail in pixels."""

    max_bytes: int
    max_pixels: int
    thumbnail_pixels: int = 256


@dataclass(frozen=True)
class Rejected:
    """Why an image is no good: a reason code, and one sentence with what was tried and what came back."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Small:
    """A decoded image made small: 8-bit RGB or L, upright; `width` and `height` are the whole image's, upright."""

    picture: Image.Image
    width: int
    height: int


def harden_pillow(max_pixels: int) -> None:
    """Make this whole process's Pillow refuse images of more pixels, and keep quiet about odd metadata."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.filterwarnings("ignore", module=r"PIL\..*")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def open_header(image: bytes, limits: Limits) -> tuple[str, Image.Image] | Rejected:
    """The format's name and Pillow's picture, of which only the header was read; or why the image is no good."""
    if not image:
        return Rejected(Reason.EMPTY, Reason.EMPTY.sentence)
    if len(image) > limits.max_bytes:
        return Rejected(Reason.TOO_LARGE, f"The image has {len(image)} bytes; at most {limits.max_bytes} are taken.")
    name = taken_format(image)
    if name is None:
        other = other_image(image)
        if other is not None:
            return Rejected(Reason.UNSUPPORTED_FORMAT, f"The bytes are {other}; taken are {', '.join(TAKEN)}.")
        return Rejected(Reason.NOT_AN_IMAGE, f"The bytes begin like {kind_of(image)}; taken are {', '.join(TAKEN)}.")
    if name == "WEBP":
        rejected = _webp_header(image, limits)
        if rejected is not None:
            return rejected
    try:
        picture = Image.open(io.BytesIO(image), formats=(name,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _bomb(name, error, limits)
    except Image.UnidentifiedImageError:
        return Rejected(Reason.CORRUPT, f"The bytes begin like {name}, and its header cannot be read.")
    except _BROKEN as error:
        return _judged(name, error)
    if name == "TIFF" and (refused := tiff_compression.refusal(image)) is not None:
        return Rejected(*refused)
    width, height = picture.size
    if width < 1 or height < 1:
        return Rejected(Reason.CORRUPT, f"The {name} header declares {width} x {height} pixels.")
    return _too_many(name, width, height, limits) or (name, picture)


def decode_small(image: bytes, name: str, picture: Image.Image, limits: Limits, longest: int) -> Small | Rejected:
    """Decode what `open_header` opened.

    Args:
        image: the bytes. name, picture: as `open_header` gave them. limits: what an image may be. longest: the
        longest side the small picture needs; it may be larger (JPEG: up to twice), never larger than the image.

    Raises:
        MemoryError: decoding asked for more memory than this process may have.
    """
    try:
        return _decode(image, name, picture, longest)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _bomb(name, error, limits)
    except _Broken as broken:
        return broken.rejected
    except _BROKEN as error:
        return _judged(name, error)


class _Broken(Exception):
    """Carries a verdict out of the decoders below."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.detail)
        self.rejected = rejected


def _too_many(name: str, width: int, height: int, limits: Limits) -> Rejected | None:
    if width * height <= limits.max_pixels:
        return None
    return Rejected(
        Reason.TOO_MANY_PIXELS,
        f"The {name} header declares {width} x {height} = {width * height} pixels; "
        f"at most {limits.max_pixels} are decoded.",
    )


def _bomb(name: str, error: Exception | Warning, limits: Limits) -> Rejected:
    declared = re.search(r"\d+", str(error))
    pixels = declared[0] if declared else "too many"
    return Rejected(
        Reason.TOO_MANY_PIXELS, f"The {name} declares {pixels} pixels; at most {limits.max_pixels} are decoded."
    )


def _webp_header(image: bytes, limits: Limits) -> Rejected | None:
    declared = 8 + int.from_bytes(image[4:8], "little")
    if declared > len(image):
        return Rejected(Reason.TRUNCATED, f"The WEBP header declares {declared} bytes, and {len(image)} came.")
    size = webp_size(image)
    return None if size is None else _too_many("WEBP", *size, limits)


def _decode(image: bytes, name: str, picture: Image.Image, target: int) -> Small:
    orientation = _orientation(picture)
    width, height = picture.size
    if name == "JPEG":
        small = _small_jpeg(image, picture, target)
    else:
        picture.load()
        if name == "TIFF":
            # Pillow turns a TIFF upright while it loads.
            orientation, (width, height) = 1, picture.size
        if name == "PNG":
            # Loading passes over the checksums of pixel data; a fresh look at the file compares them all.
            Image.open(io.BytesIO(image), formats=("PNG",)).verify()
        small = _small(picture, target)
    if orientation in _TURNS:
        small = small.transpose(_TURNS[orientation])
        if orientation >= 5:
            width, height = height, width
    return Small(small, width, height)


def _orientation(picture: Image.Image) -> int:
    try:
        found: Any = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1  # metadata that cannot be read does not spoil the picture
    return found if isinstance(found, int) and found in _TURNS else 1


def fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size with the same shape whose longest side is at most `longest`; never larger than given, never below 1."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small_jpeg(image: bytes, picture: Image.Image, target: int) -> Image.Image:
    width, height = picture.size
    wide, high = fit(width, height, target)
    # CMYK goes to Pillow, which knows Adobe's inverted inks.
    if picture.mode in ("L", "RGB"):
        grey = picture.mode == "L"
        try:
            pixels = simplejpeg.decode_jpeg(image, "GRAY" if grey else "RGB", min_height=high, min_width=wide)
            return Image.fromarray(pixels[..., 0] if grey else pixels)
        except ValueError as error:
            _judge_jpeg(error, len(image))
    picture.draft(None, (wide, high))
    picture.load()
    return _small(picture, target)


def _judge_jpeg(error: ValueError, size: int) -> None:
    """Raise a verdict where libjpeg's warning is one; return where Pillow's full decode shall decide."""
    text = _first_line(error)
    lower = text.lower()
    if any(word in lower for word in _OUT_OF_MEMORY):
        raise MemoryError(text)
    if "premature end of data segment" in lower:
        raise _Broken(Rejected(Reason.TRUNCATED, f"Decoding the JPEG met the end of its data early: {text}."))
    if "bad huffman code" in lower:
        raise _Broken(Rejected(Reason.CORRUPT, f"Decoding the JPEG failed: {text}."))
    if "extraneous bytes before marker" in lower:
        stray = next((int(word) for word in lower.split() if word.isdecimal()), 0)
        if stray * 10 > size:
            # A header that declares less than the data hold; a few stray bytes are what some cameras write.
            raise _Broken(
                Rejected(
                    Reason.CORRUPT, f"{stray} of the JPEG's {size} bytes belong to no pixel that its header declares."
                )
            )


def _small(picture: Image.Image, target: int) -> Image.Image:
    """Any decoded image as 8-bit RGB or L on white, longest side at most `target`."""
    size = fit(*picture.size, target)
    mode = picture.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        return _eight_bits(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if mode == "1":
        picture = picture.convert("L")
    elif mode in ("PA", "La", "RGBa") or (mode in ("L", "P", "RGB") and "transparency" in picture.info):
        picture = picture.convert("RGBA")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    small = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if small.mode in ("LA", "RGBA"):
        small = small.convert("RGBA")
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return small


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Deep grey as 8 bits: 16-bit by its high byte, 32-bit and floating point stretched from darkest to brightest."""
    pixels = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return Image.fromarray((pixels.astype(np.uint16, copy=False) >> 8).astype(np.uint8))
    finite = np.where(np.isfinite(pixels), pixels, 0).astype(np.float32)
    low, high = float(finite.min()), float(finite.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(((finite - low) * scale).astype(np.uint8))


def _judged(name: str, error: Exception) -> Rejected:
    text = _first_line(error)
    lower = text.lower()
    if any(word in lower for word in _OUT_OF_MEMORY):
        raise MemoryError(text) from error
    if isinstance(error, EOFError) or any(word in lower for word in _ENDS_EARLY):
        return Rejected(Reason.TRUNCATED, f"Decoding the {name} met the end of its data early: {text}.")
    return Rejected(Reason.CORRUPT, f"Decoding the {name} failed: {text}.")


def _first_line(error: Exception) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
    return line.strip().rstrip(".")[:200]
