"""What bytes are, by their first bytes; a name or a declared type is never asked.

Only the doorman's look: it keeps PDFs and web pages out and costs nothing. Developing asks the same table of signatures
(`transforms.image_formats`); whether the image behind the magic number can be decoded is found there, in a process that
may die of it.
"""

from __future__ import annotations

from services.door.problems import Kind, Problem
from transforms.image_formats import MEDIA_TYPES, kind_of, other_image, taken_format

TAKEN = "JPEG, PNG, WebP, TIFF, BMP and GIF"


def content_type_of(image: bytes | memoryview) -> str:
    """The media type of an image, by content.

    Raises:
        Problem: EMPTY for no bytes, UNSUPPORTED_FORMAT for an image of a format that is not taken, NOT_AN_IMAGE else.
    """
    if not image:
        raise Problem(
            Kind.EMPTY, "The image has no bytes. Send the file's bytes as the body, or as a part named `file`."
        )
    taken = taken_format(image)
    if taken is not None:
        return MEDIA_TYPES[taken]
    other = other_image(image)
    if other is not None:
        raise Problem(Kind.UNSUPPORTED_FORMAT, f"The bytes are {other}; taken are {TAKEN}, known by their content.")
    raise Problem(
        Kind.NOT_AN_IMAGE,
        f"The bytes are {kind_of(image)} and no image of a known format; taken are {TAKEN}, known by their content.",
    )
