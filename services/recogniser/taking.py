"""From a Kafka message to the record that opening reads: the row that bronze will hold of it, without the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from resources.records import MOST_HEADERS, Headers, Record
from transforms.landing import headers_of
from transforms.landing_protocol import record_day

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999


class Arrived(Protocol):
    """What is used of a confluent-kafka Message that came without an error, and as a consumer has it."""

    def topic(self) -> str:
        """Its topic."""
        ...

    def partition(self) -> int:
        """Its partition."""
        ...

    def offset(self) -> int:
        """Its offset."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """(kind, milliseconds since 1970)."""
        ...

    def key(self) -> bytes | None:
        """Its key as sent."""
        ...

    def value(self) -> bytes | None:
        """Its value as sent; None is a tombstone."""
        ...

    def headers(self) -> Headers | None:
        """Its headers in order; None for none."""
        ...


def record_of(message: Arrived, topic_id: str) -> Record:
    """The record of a message.

    Its day is decided as landing decides it, so that both lanes open a record under the same key.
    """
    headers = list(headers_of([message])[0] or ())
    appended = _EPOCH + timedelta(milliseconds=min(max(message.timestamp()[1], 0), _LAST_MS))
    value, key = message.value(), message.key()
    claimed = next((content for name, content in headers if name == "day"), None)
    return Record(
        topic=message.topic(),
        topic_id=topic_id,
        partition=message.partition(),
        offset=message.offset(),
        day=record_day(claimed, appended.date()),
        appended_at=appended,
        key=key,
        headers=headers if len(headers) <= MOST_HEADERS else [],
        payload=None if value is None else memoryview(value),
        header_count=len(headers),
        beside=len(key or b"") + sum(len(name) + len(content or b"") for name, content in headers),
    )
