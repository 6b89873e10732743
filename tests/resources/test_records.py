"""Records out of bronze: what a record weighs, and that headers without number cost no memory and stop nobody."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from resources.opening import Opener, Refused
from resources.records import MOST_HEADERS, Record, records_of
from resources.settings import Settings
from transforms.landing import HEADER_OVERHEAD, Batch, ValueBuffer
from transforms.reasons import Reason
from transforms.tables import RAW_IMAGES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Sent:
    """A record as the client hands it over."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | None, value: bytes | None = b"v") -> None:
        self._headers, self._value = headers, value

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 2, int(NOW.timestamp() * 1000)

    def key(self) -> bytes | None:
        return b"key"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers


def batch_of(sent: Sent) -> Batch:
    batch = Batch(ValueBuffer(1024))
    batch.add(0, [sent])
    return batch


def record_of(sent: Sent) -> Record:
    table = batch_of(sent).table("images.raw", "A" * 22, "here", NOW)
    (record,) = [record for part in table.to_batches() for record in records_of(part)]
    return record


def test_headers_of_nothing_weigh_something():
    """Bug prevented: a batch of records with 100,000 empty headers weighed nothing, and grew without a flush."""
    assert batch_of(Sent([("", None)] * 100_000)).weight == 100_000 * HEADER_OVERHEAD
    assert batch_of(Sent(None)).weight == len(b"key") + len(b"v")


def test_a_record_says_how_large_it_is_with_all_that_it_carries():
    plain, laden = record_of(Sent(None)), record_of(Sent([("trace", b"t" * 5000)]))
    assert plain.bytes == len(b"key") + len(b"v")
    assert 5000 < laden.bytes - plain.bytes < 6000
    assert laden.headers == [("trace", b"t" * 5000)]


def test_as_many_headers_as_are_read_are_read():
    headers: list[tuple[str, bytes | None]] = [(f"h{number}", b"") for number in range(MOST_HEADERS)]
    assert record_of(Sent(headers)).headers == headers


def test_a_record_with_more_headers_is_refused_and_its_headers_take_no_memory():
    table = batch_of(Sent([("", None)] * 100_000)).table("images.raw", "A" * 22, "here", NOW)
    (part,) = table.to_batches()
    tracemalloc.start()
    try:
        (record,) = records_of(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (record.headers, record.header_count) == ([], 100_000)
    assert peak < 1_000_000
    refused = Opener(Settings(), _NoKeys()).open(record)
    assert isinstance(refused, Refused)
    assert (refused.reason, "100000 headers" in refused.detail) == (Reason.CORRUPT, True)


def test_a_row_of_null_headers_is_a_record_without_headers():
    row = {name: [None] for name in RAW_IMAGES.schema.names}
    row |= {"topic": ["t"], "topic_id": ["i"], "partition": [0], "offset": [0], "timestamp": [NOW]}
    row |= {"day": [date(2026, 11, 23)]}
    loose = pa.schema([field.with_nullable(True) for field in RAW_IMAGES.schema])
    (record,) = records_of(pa.RecordBatch.from_pydict(row, schema=loose))
    assert (record.headers, record.header_count, record.bytes) == ([], 0, 0)


class _NoKeys:
    """A record that is refused for its form needs no key."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the key store was asked for {name}")
