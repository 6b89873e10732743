"""Why a record is no good image: the closed list of reason codes, each with its sentence.

The door (uploads) and developing share it, so that a person reads the same words wherever an image was turned away.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A reason code of quarantine; stable, for it is stored in tables that outlive a release."""

    EMPTY = "empty"
    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    HASH_MISMATCH = "hash_mismatch"
    DECODE_TIMEOUT = "decode_timeout"
    DECODE_MEMORY = "decode_memory"
    NOT_SEALED = "not_sealed"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KEY = "unknown_key"
    KEY_DESTROYED = "key_destroyed"
    ERASED = "erased"
    TAMPERED = "tampered"

    @property
    def sentence(self) -> str:
        """What the code means, for a person."""
        return SENTENCES[self]


SENTENCES: dict[Reason, str] = {
    Reason.EMPTY: "The record holds no byte of an image.",
    Reason.TOMBSTONE: "The record's value is null: it marks a deletion and carries no image.",
    Reason.TOO_LARGE: "The image has more bytes than the platform takes.",
    Reason.NOT_AN_IMAGE: "The bytes are no image, whatever their name or declared type says.",
    Reason.UNSUPPORTED_FORMAT: "The bytes are an image of a format that is not taken; "
    "taken are JPEG, PNG, WebP, TIFF, BMP and GIF.",
    Reason.TRUNCATED: "The image ends before its last pixel.",
    Reason.CORRUPT: "The image, or the record that carries it, breaks the rules of its format.",
    Reason.TOO_MANY_PIXELS: "The image's header declares more pixels than the platform decodes.",
    Reason.HASH_MISMATCH: "The bytes do not have the SHA-256 that came with them.",
    Reason.DECODE_TIMEOUT: "Decoding took longer than one image may take.",
    Reason.DECODE_MEMORY: "Decoding needed more memory than one image may use.",
    Reason.NOT_SEALED: "The record did not come through a door of ours, and only sealed records are taken.",
    Reason.UNKNOWN_VERSION: "The envelope has a version that this release does not know.",
    Reason.UNKNOWN_KEY: "The envelope names a data key that the key store has never held.",
    Reason.KEY_DESTROYED: "The envelope's data key was destroyed; the image cannot be read again.",
    Reason.ERASED: "The image was erased at its owner's request.",
    Reason.TAMPERED: "The sealed bytes or their headers were changed after sealing.",
}
