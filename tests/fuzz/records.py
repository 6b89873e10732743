"""Targets: what a record of Kafka holds, whoever wrote it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa

from resources.key_objects import UnknownKey
from resources.opening import Opened, Opener, Refused
from resources.records import records_of
from tests.fuzz import seeds
from tests.fuzz.harness import pieces, refusal, target
from transforms.envelope import Clear, EnvelopeError, associated_data, clear_of, open_envelope, seal_field
from transforms.landing import Batch, ValueBuffer
from transforms.messages import PAYLOAD, open_correction, open_recognition
from transforms.names import pseudonym
from transforms.tables import LABEL_CORRECTIONS, RAW_IMAGES, RECOGNISED_STREAM

CLEAR = Clear("1", seeds.ID, seeds.DAY, seeds.KEY.name, "uploads")
TOPIC_ID = "AAAAAAAAQACAAAAAAAAAAA"
APPENDED = datetime(2026, 11, 23, 10, 9, tzinfo=UTC)


@target(seeds.headers)
def headers(data: bytes) -> None:
    """A record's headers, read in clear. Refused with EnvelopeError; what is read is written as it was."""
    given = seeds.headers_in(data)
    with refusal(EnvelopeError):
        found = clear_of(given)
        if found is not None:
            assert dict(found.headers()).items() <= dict(given).items()


@target(seeds.plain_envelopes)
def envelope(data: bytes) -> None:
    """A sealed value that anyone wrote, and one that is authentic with any content. Refused with EnvelopeError."""
    with suppress(EnvelopeError):
        open_envelope(CLEAR, data, seeds.KEY)
        raise AssertionError("a value opened that was never sealed")
    aad = associated_data(seeds.ID, seeds.DAY, seeds.KEY.name)
    with refusal(EnvelopeError):
        metadata, image = open_envelope(
            CLEAR, seeds.NONCE + seeds.KEY.cipher.encrypt(seeds.NONCE, data, aad), seeds.KEY
        )
        assert data.endswith(bytes(image))
        assert metadata.uploaded_at.tzinfo is UTC
        for text in (metadata.sha256, metadata.content_type, metadata.label, metadata.filename, *metadata.groups):
            (text or "").encode()
        pseudonym(seeds.SECRET, metadata.uploader, seeds.DAY)


@target(seeds.messages)
def message(data: bytes) -> None:
    """A correction and an answer, authentic with any content. Refused with EnvelopeError; else a table can hold their
    words. Whether their numbers can be is for whoever merges them."""
    place = {"column": PAYLOAD, "id": seeds.ID, "day": seeds.DAY, "key": seeds.KEY, "nonce": seeds.NONCE}
    with refusal(EnvelopeError):
        corrected = open_correction(CLEAR, seal_field(data, table=LABEL_CORRECTIONS.name, **place), seeds.KEY)
        corrected.label.encode()
    with refusal(EnvelopeError):
        said = open_recognition(CLEAR, seal_field(data, table=RECOGNISED_STREAM.name, **place), seeds.KEY)
        for text in (said.model, said.model_version, said.label, said.topic, said.topic_id):
            text.encode()


class _Keys:
    """Stands in for the key store: one key, and no other."""

    def open_key(self, name: str) -> object:
        if name != seeds.KEY.name:
            raise UnknownKey("No such key.")
        return seeds.KEY

    def current_key(self, day: date, pseudonym: str) -> object:
        return seeds.KEY

    def platform_secret(self) -> bytes:
        return seeds.SECRET

    def erased_ids(self, day: date) -> frozenset[str]:
        return frozenset({"e" * 26})


class Record:
    """Stands in for the client's message."""

    def __init__(self, data: bytes) -> None:
        stamp, key, value, self._headers = pieces(data, 4)
        self._time = int.from_bytes(stamp[:8], "big", signed=True)
        self._key, self._value = key or None, None if value == b"none" else value

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 2, self._time

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return seeds.headers_in(self._headers) or None


def landed(record: Record) -> pa.Table:
    """The record as bronze has it."""
    batch = Batch(ValueBuffer(64))
    batch.add(3, [record])
    return batch.table("images.raw", TOPIC_ID, "here", APPENDED)


def opened(table: pa.Table, unsealed: str) -> Opened | Refused:
    """What developing makes of it."""
    (read,) = records_of(table.to_batches()[0])
    return Opener(SimpleNamespace(max_image_bytes=4096, unsealed=unsealed), _Keys()).open(read)  # type: ignore[arg-type]


@target(seeds.records)
def landing(data: bytes) -> None:
    """Any record lands as it was sent, and is opened or given a verdict. Nothing is refused: there is no exception."""
    record = Record(data)
    table = landed(record)
    table.validate(full=True)
    assert table.schema == RAW_IMAGES.schema
    (row,) = table.to_pylist()
    assert (row["key"], row["payload"]) == (record.key(), record.value())
    sent = record.headers()
    assert row["headers"] == (None if sent is None else [{"key": name, "value": value} for name, value in sent])
    assert abs(row["day"] - row["timestamp"].date()) <= timedelta(days=1)
    for unsealed in ("accept", "quarantine"):
        found = opened(table, unsealed)
        if isinstance(found, Refused):
            assert found.detail and found.detail.encode()
        else:
            assert isinstance(found, Opened) and len(found.sha256) == 32 and len(found.id) == 26
            (found.label or "").encode()
