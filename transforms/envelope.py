"""The envelope, version 1: how an image travels and rests sealed, and what it is called.

Why: from the first byte a door takes to the last backup, an image can be made unreadable by destroying one small key.
Mechanism: AES-256-GCM under a data key of one uploader's day; the names that stay in clear (v, id, day, key) are its
associated data, so a record cannot be given another id, day or key. Ids and pseudonyms are keyed hashes (HMAC-SHA-256)
of a day, so nothing in clear links two days. docs/envelope.md is the format for other languages, and
tests/vectors/envelope.json its known answers.

Pure: nonce, secret and instant are arguments. Limits: `via` travels in clear and is not authenticated; sizes and times
show; a nonce must never be used twice under one key (callers draw 12 random bytes, good for 2**32 seals a key,
NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from cryptography.exceptions import InvalidTag

from transforms.names import (
    ID,
    ID_CHARACTERS,
    KEY_BYTES,
    DataKey,
    KeyName,
    day_of,
    image_id,
    length_prefixed,
    parse_day,
    pseudonym,
    shown,
)
from transforms.reasons import Reason

__all__ = [
    "HEADER_NAMES",
    "KEY_BYTES",
    "NONCE_BYTES",
    "VERSION",
    "Clear",
    "DataKey",
    "EnvelopeError",
    "KeyName",
    "Metadata",
    "associated_data",
    "clear_of",
    "day_of",
    "image_id",
    "open_envelope",
    "open_field",
    "pseudonym",
    "seal",
    "seal_field",
]

VERSION = "1"
HEADER_NAMES = ("v", "id", "day", "key", "via")
NONCE_BYTES = 12
TAG_BYTES = 16

_LENGTH = struct.Struct(">I")
_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"
_VIA = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class EnvelopeError(Exception):
    """A sealed record or field that does not open; `reason` is its quarantine code, `detail` one sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Metadata:
    """What is sealed beside the image. `sha256` is 64 lower-case hex digits of the image; `uploaded_at` has a zone."""

    sha256: str
    content_type: str
    label: str | None
    uploader: str
    groups: tuple[str, ...]
    filename: str | None
    uploaded_at: datetime


@dataclass(frozen=True)
class Clear:
    """What travels in clear, as Kafka headers."""

    v: str
    id: str
    day: date
    key: str
    via: str

    def headers(self) -> list[tuple[str, bytes]]:
        """The five Kafka headers, in the order of `HEADER_NAMES`."""
        values = (self.v, self.id, self.day.isoformat(), self.key, self.via)
        return [(name, value.encode("ascii")) for name, value in zip(HEADER_NAMES, values, strict=True)]


def seal(
    metadata: Metadata, image: bytes, *, id: str, day: date, key: DataKey, via: str, nonce: bytes
) -> tuple[list[tuple[str, bytes]], bytes]:
    """Seal an image for the stream.

    Args:
        metadata: what is sealed beside it.
        image: the image's bytes, as they came.
        id: from `image_id`; also the Kafka key.
        day: the day the door stamped; must be the key's day.
        key: the uploader's data key of that day.
        via: name of the door, `[a-z0-9][a-z0-9._-]*`, at most 64 characters.
        nonce: 12 random bytes, never used before under this key.

    Returns:
        Kafka headers and value (12 bytes nonce, then ciphertext and tag).

    Raises:
        ValueError: an argument that the format cannot carry.
    """
    _check_seal(id, day, key, nonce)
    if not _VIA.fullmatch(via):
        raise ValueError(f"via {shown(via)} is no door's name; one matches {_VIA.pattern}.")
    clear = Clear(VERSION, id, day, key.name, via)
    packed = _pack_metadata(metadata)
    plain = b"".join((_LENGTH.pack(len(packed)), packed, image))
    return clear.headers(), nonce + key.cipher.encrypt(nonce, plain, associated_data(id, day, key.name))


def clear_of(headers: Sequence[tuple[str, bytes | None]] | None) -> Clear | None:
    """What a record's headers say in clear.

    Other headers (tracing, for instance) are passed over. Whether the named key exists is the key store's to say.

    Returns:
        None for a record without a `v` header: it came unsealed.

    Raises:
        EnvelopeError: UNKNOWN_VERSION for another version; TAMPERED for a missing, doubled or malformed header.
    """
    found: dict[str, list[bytes | None]] = {}
    for name, value in headers or ():
        if name in HEADER_NAMES:
            found.setdefault(name, []).append(value)
    if "v" not in found:
        return None
    for name, values in found.items():
        if len(values) > 1:
            raise EnvelopeError(Reason.TAMPERED, f"Header {name} stands {len(values)} times; each stands once.")
    if found["v"] != [VERSION.encode()]:
        raise EnvelopeError(
            Reason.UNKNOWN_VERSION, f"Header v is {shown(found['v'][0])}; this release opens version {VERSION!r}."
        )
    if missing := [name for name in HEADER_NAMES if name not in found]:
        raise EnvelopeError(Reason.TAMPERED, f"The sealed record lacks the header(s) {', '.join(missing)}.")
    text = {name: _ascii(name, values[0]) for name, values in found.items()}
    day = parse_day(text["day"])
    if day is None:
        raise EnvelopeError(Reason.TAMPERED, f"Header day is {shown(text['day'])}, no day as YYYY-MM-DD.")
    for name, form in (("id", ID), ("via", _VIA)):
        if not form.fullmatch(text[name]):
            raise EnvelopeError(
                Reason.TAMPERED, f"Header {name} is {shown(text[name])}, not of the form {form.pattern}."
            )
    return Clear(VERSION, text["id"], day, text["key"], text["via"])


def open_envelope(clear: Clear, value: bytes | memoryview, key: DataKey) -> tuple[Metadata, memoryview]:
    """Open a sealed value.

    Authentic means: made with this key for this id and day. That the image has the SHA-256 in the metadata is for the
    caller to check (hash_mismatch).

    Returns:
        the metadata, and the image as a view of the opened bytes (no copy).

    Raises:
        EnvelopeError: TAMPERED, for anything but what `seal` made under these very names and key.
        ValueError: `key` is not the one that `clear` names.
    """
    if key.name != clear.key:
        raise ValueError(f"The record names the key {shown(clear.key)} and was to be opened with {key.name}.")
    if clear.day != key.day:
        # Else a record could carry one day and outlive its destruction under the key of another.
        raise EnvelopeError(
            Reason.TAMPERED, f"The record says day {clear.day} and its key {key.name} is another day's."
        )
    what = f"the record {clear.id} of {clear.day}"
    plain = memoryview(_open(value, key, associated_data(clear.id, clear.day, clear.key, version=clear.v), what))
    end = _LENGTH.size + (_LENGTH.unpack_from(plain)[0] if len(plain) >= _LENGTH.size else 0)
    if not _LENGTH.size < end <= len(plain):
        raise EnvelopeError(Reason.TAMPERED, f"Inside {what} the length of the metadata points past the end.")
    return _unpack_metadata(bytes(plain[_LENGTH.size : end]), what), plain[end:]


def seal_field(value: bytes, *, table: str, column: str, id: str, day: date, key: DataKey, nonce: bytes) -> bytes:
    """Seal one value of a table's row (nonce, ciphertext and tag); it opens in no other row, column or table.

    Args:
        value: the column's value as bytes.
        table: the table's name, such as `images/processed_images`.
        column: the column's name.
        id, day: of the row.
        key: the image's data key.
        nonce: 12 random bytes, never used before under this key.

    Raises:
        ValueError: an argument that the format cannot carry.
    """
    _check_seal(id, day, key, nonce)
    return nonce + key.cipher.encrypt(nonce, value, associated_data(id, day, key.name, table, column))


def open_field(sealed: bytes | memoryview, *, table: str, column: str, id: str, day: date, key: DataKey) -> bytes:
    """Open what `seal_field` sealed.

    Raises:
        EnvelopeError: TAMPERED, for anything but what `seal_field` made for this very place under this key.
    """
    return _open(sealed, key, associated_data(id, day, key.name, table, column), f"{table}.{column} of {id}")


def associated_data(id: str, day: date, key: str, *place: str, version: str = VERSION) -> bytes:
    """The associated data: v, id, day, key (and table, column), each behind its length."""
    return length_prefixed(*(part.encode() for part in (version, id, day.isoformat(), key, *place)))


def _check_seal(id: str, day: date, key: DataKey, nonce: bytes) -> None:
    if not ID.fullmatch(id):
        raise ValueError(f"id {shown(id)} is no image id; one has {ID_CHARACTERS} characters of a-z2-7.")
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"A nonce has {NONCE_BYTES} bytes; {len(nonce)} were given.")
    if key.day != day:
        raise ValueError(f"An image of {day} is sealed under a key of that day; {key.name} was given.")


def _open(sealed: bytes | memoryview, key: DataKey, associated: bytes, what: str) -> bytes:
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise EnvelopeError(
            Reason.TAMPERED,
            f"{_capital(what)} has {len(sealed)} bytes; nonce and tag alone are {NONCE_BYTES + TAG_BYTES}.",
        )
    view = memoryview(sealed)
    try:
        return key.cipher.decrypt(bytes(view[:NONCE_BYTES]), view[NONCE_BYTES:], associated)
    except InvalidTag:
        detail = f"{_capital(what)} does not open under {key.name}: bytes or names are not those sealed."
    raise EnvelopeError(Reason.TAMPERED, detail)


def _pack_metadata(metadata: Metadata) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", metadata.sha256):
        raise ValueError("Metadata.sha256 takes 64 lower-case hex digits.")
    day_of(metadata.uploaded_at)
    fields = {
        "sha256": metadata.sha256,
        "content_type": metadata.content_type,
        "label": metadata.label,
        "uploader": metadata.uploader,
        "groups": list(metadata.groups),
        "filename": metadata.filename,
        "uploaded_at": metadata.uploaded_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        + "Z",
    }
    # A lone surrogate raises UnicodeEncodeError, a ValueError: such text has no UTF-8.
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _unpack_metadata(packed: bytes, what: str) -> Metadata:
    try:
        fields: dict[str, Any] = json.loads(packed.decode("utf-8"))
        return Metadata(
            sha256=_text(fields["sha256"]),
            content_type=_text(fields["content_type"]),
            label=_text_or_none(fields["label"]),
            uploader=_text(fields["uploader"]),
            groups=_texts(fields["groups"]),
            filename=_text_or_none(fields["filename"]),
            uploaded_at=datetime.strptime(fields["uploaded_at"], _INSTANT).replace(tzinfo=UTC),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # Authentic bytes of another form: a door with a bug. The names of the fields may be said, their content not.
        kind = type(error).__name__
    raise EnvelopeError(Reason.TAMPERED, f"Inside {what} the metadata is not that of version {VERSION} ({kind}).")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    value.encode("utf-8")  # JSON can spell half a surrogate pair, which no other place could store
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(_text(item) for item in value)


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _ascii(name: str, value: bytes | None) -> str:
    if value is None or not value.isascii() or not 0 < len(value) <= 128:
        raise EnvelopeError(Reason.TAMPERED, f"Header {name} is {shown(value)}; 1 to 128 bytes of ASCII are due.")
    return value.decode("ascii")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
