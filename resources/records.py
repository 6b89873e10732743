"""Rows of bronze as records, one by one: what developing and replay read.

Payloads are views of the Arrow batch they came in; a record keeps its batch in memory for as long as it is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from transforms.landing_protocol import Position

Headers = list[tuple[str, bytes | None]]

COLUMNS = ("topic", "topic_id", "partition", "offset", "timestamp", "key", "headers", "payload", "day")
"""Columns of bronze that opening reads."""

MOST_HEADERS = 256
"""More are not read: as Python objects, 100,000 empty headers of a record of 200 kB take 30 MB."""


@dataclass(frozen=True)
class Record:
    """One row of bronze; `payload` is a view of the batch it came in."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    day: date
    appended_at: datetime
    key: bytes | None
    headers: Headers
    """None of them where there are more than MOST_HEADERS; `header_count` says how many there are."""
    payload: memoryview | None
    header_count: int = 0
    beside: int = 0
    """Bytes of key and headers."""

    @property
    def place(self) -> tuple[str, int, int]:
        """What makes the record one of its kind: topic id, partition, offset."""
        return self.topic_id, self.partition, self.offset

    @property
    def position(self) -> Position:
        """The partition it came from."""
        return Position(self.topic, self.partition, self.topic_id)

    @property
    def bytes(self) -> int:
        """Size of the stored record: value, key and headers."""
        return self.beside + (0 if self.payload is None else len(self.payload))


def records_of(batch: pa.RecordBatch) -> Iterator[Record]:
    """The rows of a batch of bronze, in order; payloads are views, not copies."""
    columns = [batch.column(name) for name in COLUMNS]
    for row in range(batch.num_rows):
        topic, topic_id, partition, offset, stamp, key, headers, payload, day = (column[row] for column in columns)
        count = len(headers.values) if headers.is_valid else 0
        yield Record(
            topic=topic.as_py(),
            topic_id=topic_id.as_py(),
            partition=partition.as_py(),
            offset=offset.as_py(),
            day=day.as_py(),
            appended_at=stamp.as_py(),
            key=key.as_py(),
            headers=[(one["key"], one["value"]) for one in headers.as_py()] if 0 < count <= MOST_HEADERS else [],
            header_count=count,
            beside=(len(key.as_buffer()) if key.is_valid else 0) + (headers.values.nbytes if count else 0),
            # Arrow says signed bytes, which ciphers refuse.
            payload=memoryview(payload.as_buffer()).cast("B") if payload.is_valid else None,
        )
