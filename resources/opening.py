"""From a bronze row to an opened image, or to the reason why it stays shut.

Everything that is decided about a record before a pixel is decoded: tombstones and empty values, sealed or not,
erased, which key, authentic or not, does the content have its hash. Nothing here decodes. What a verdict may claim is
strict: an id or a pseudonym is passed on only where the envelope opened or the platform itself said so, since headers
in clear can be written by anyone who may write to the topic.

A key store that cannot answer raises `KeyUnavailable`: transient, and no record is judged by it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from resources.key_objects import DayDestroyed, KeyDestroyed, UnknownKey
from resources.key_protocol import Keys
from resources.records import MOST_HEADERS, Record
from resources.settings import Settings
from transforms.envelope import Clear, EnvelopeError, clear_of, open_envelope
from transforms.names import ID, DataKey, image_id, pseudonym, shown
from transforms.reasons import Reason

SEALED_OVERHEAD = 64 * 1024
"""Most bytes that sealing adds to an image: nonce, tag and metadata (a label, a name, a list of groups)."""

UNSEALED_HEADERS = ("id", "sha256", "content-type", "label")
"""Headers that a record which did not come through a door may carry."""


@dataclass(frozen=True)
class Opened:
    """A record whose image may be developed; `sha256` has 32 bytes and is the image's."""

    record: Record
    id: str
    pseudonym: str
    key: DataKey
    via: str | None
    groups: tuple[str, ...]
    uploader: str
    label: str | None
    filename: str | None
    uploaded_at: datetime
    sha256: bytes
    image: bytes | memoryview

    @property
    def sealed(self) -> bool:
        """Whether it came through a door, so that its id is authentic; an unsealed record may give any id."""
        return self.via is not None


@dataclass(frozen=True)
class Refused:
    """A record that is no good image: why, in a code and a sentence, and what of its origin can be believed.

    `groups` are None unless an envelope opened; the `id` of any other record may be one that its producer gave.
    """

    record: Record
    reason: Reason
    detail: str
    id: str | None = None
    pseudonym: str | None = None
    groups: tuple[str, ...] | None = None
    key: str | None = None
    """Name of the data key that opened the envelope; None where none did, or there was none."""


class Opener:
    """Opens records one by one. Make one per chunk: what it learnt from the key store it does not ask again.

    Args:
        settings: max_image_bytes and the policy for unsealed records.
        keys: the key store.
    """

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._most = settings.max_image_bytes
        self._unsealed = settings.unsealed
        self._keys = keys
        self._erased: dict[date, frozenset[str]] = {}

    def open(self, record: Record) -> Opened | Refused:
        """Open one record.

        Raises:
            KeyUnavailable: the key store cannot say; no verdict.
        """
        if record.payload is None:
            return Refused(record, Reason.TOMBSTONE, Reason.TOMBSTONE.sentence)
        if len(record.payload) == 0:
            return Refused(record, Reason.EMPTY, Reason.EMPTY.sentence)
        if record.header_count > MOST_HEADERS:
            detail = f"The record has {record.header_count} headers; at most {MOST_HEADERS} are read."
            return Refused(record, Reason.CORRUPT, detail)
        try:
            clear = clear_of(record.headers)
        except EnvelopeError as error:
            return Refused(record, error.reason, error.detail)
        if clear is None:
            return self._open_plain(record, record.payload)
        return self._open_sealed(record, record.payload, clear)

    def _open_sealed(self, record: Record, payload: memoryview, clear: Clear) -> Opened | Refused:
        if clear.id in self._erased_ids(clear.day):
            return Refused(record, Reason.ERASED, Reason.ERASED.sentence, id=clear.id)
        if len(payload) > self._most + SEALED_OVERHEAD:
            return self._too_large(record, len(payload))
        try:
            key = self._keys.open_key(clear.key)
        except UnknownKey as error:
            return Refused(record, Reason.UNKNOWN_KEY, error.detail)
        except KeyDestroyed as error:
            return Refused(record, Reason.KEY_DESTROYED, error.detail)
        try:
            metadata, image = open_envelope(clear, payload, key)
        except EnvelopeError as error:
            return Refused(record, error.reason, error.detail)
        name = pseudonym(self._keys.platform_secret(), metadata.uploader, clear.day)
        known: dict[str, Any] = {"id": clear.id, "pseudonym": name, "groups": metadata.groups, "key": clear.key}
        claimed = _digest(metadata.sha256.encode())
        if claimed is None:
            return Refused(record, Reason.HASH_MISMATCH, "The sealed sha256 is not 64 hex digits.", **known)
        digest = self._check(record, image, claimed, known)
        if isinstance(digest, Refused):
            return digest
        return Opened(
            record=record,
            id=clear.id,
            pseudonym=name,
            key=key,
            via=clear.via,
            groups=metadata.groups,
            uploader=metadata.uploader,
            label=metadata.label,
            filename=metadata.filename,
            uploaded_at=metadata.uploaded_at,
            sha256=digest,
            image=image,
        )

    def _open_plain(self, record: Record, payload: memoryview) -> Opened | Refused:
        if self._unsealed == "quarantine":
            return Refused(record, Reason.NOT_SEALED, Reason.NOT_SEALED.sentence)
        try:
            given = _plain_headers(record)
        except ValueError as error:
            return Refused(record, Reason.CORRUPT, str(error))
        name = pseudonym(self._keys.platform_secret(), "", record.day)
        claimed: bytes | None = None
        if (text := given.get("sha256")) is not None:
            claimed = _digest(text)
            if claimed is None:
                detail = "Header sha256 is neither 64 hex digits nor 32 bytes, so nothing has that hash."
                return Refused(record, Reason.HASH_MISMATCH, detail, pseudonym=name)
        digest = self._check(record, payload, claimed, {"pseudonym": name})
        if isinstance(digest, Refused):
            return digest
        id = _plain_id(given.get("id")) or image_id(self._keys.platform_secret(), "", digest, record.day)
        if id in self._erased_ids(record.day):
            return Refused(record, Reason.ERASED, Reason.ERASED.sentence, id=id, pseudonym=name)
        try:
            key = self._keys.current_key(record.day, name)
        except DayDestroyed as error:
            return Refused(record, Reason.KEY_DESTROYED, error.detail, id=id, pseudonym=name)
        label = given.get("label")
        return Opened(
            record=record,
            id=id,
            pseudonym=name,
            key=key,
            via=None,
            groups=(),
            uploader="",
            label=label.decode() if label else None,
            filename=None,
            uploaded_at=record.appended_at,
            sha256=digest,
            image=payload,
        )

    def _check(
        self, record: Record, image: memoryview, claimed: bytes | None, known: dict[str, Any]
    ) -> bytes | Refused:
        """The image's SHA-256, if it has a size that is taken and the hash that came with it."""
        if len(image) == 0:
            return Refused(record, Reason.EMPTY, Reason.EMPTY.sentence, **known)
        if len(image) > self._most:
            return self._too_large(record, len(image), known)
        digest = hashlib.sha256(image).digest()
        if claimed is not None and claimed != digest:
            return Refused(record, Reason.HASH_MISMATCH, Reason.HASH_MISMATCH.sentence, **known)
        return digest

    def _too_large(self, record: Record, size: int, known: dict[str, Any] | None = None) -> Refused:
        detail = f"The record holds {size} bytes; an image may have {self._most}."
        return Refused(record, Reason.TOO_LARGE, detail, **(known or {}))

    def _erased_ids(self, day: date) -> frozenset[str]:
        if day not in self._erased:
            self._erased[day] = self._keys.erased_ids(day)
        return self._erased[day]


def _plain_headers(record: Record) -> dict[str, bytes]:
    """The optional headers of an unsealed record, the last of each name.

    Raises:
        ValueError: a header or the record's key is no UTF-8. Such a record is damaged or probing, and what it means by
            its text nobody can say.
    """
    given: dict[str, bytes] = {}
    for name, value in record.headers:
        if value is None:
            continue
        if not (name == "sha256" and len(value) == 32) and not _is_text(value):
            raise ValueError(f"Header {shown(name)} of the unsealed record is not UTF-8.")
        if name in UNSEALED_HEADERS:
            given[name] = value
    if record.key is not None and not _is_text(record.key):
        raise ValueError("The key of the unsealed record is not UTF-8.")
    return given


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain_id(value: bytes | None) -> str | None:
    """An id that a producer gave, if it has the form of one; another is passed over, and the id computed."""
    text = value.decode() if value is not None else ""
    return text if ID.fullmatch(text) else None


def _digest(value: bytes) -> bytes | None:
    if len(value) == 32:
        return value
    try:
        digest = bytes.fromhex(value.decode("ascii"))
    except ValueError:
        return None
    return digest if len(digest) == 32 else None
