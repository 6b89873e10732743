"""Kafka records to bronze rows: every byte as it was sent, in Arrow, copied once.

What landing costs is memory touched for the first time, not copying: values go from the client's messages straight into
one buffer that is used again for every batch, and Arrow arrays are laid over it.

Rows are grouped by partition, offsets rising within each, without moving a value: the client hands over runs of one
partition, and a table of slices puts the runs in order.

Limits: a header name that is not UTF-8 is lost in the client (confluent-kafka 2.16 raises SystemError once, and keeps
the value): it lands as U+FFFD with its value. A record's time is clipped to the years 1970 to 9999.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Protocol

import numpy as np
import pyarrow as pa

from transforms.arrow_arrays import (
    binary_array,
    binary_over,
    fixed_array,
    joined,
    offsets_and_validity,
    places_of,
    repeated_text,
    text_array,
)
from transforms.landing_protocol import record_day
from transforms.tables import RAW_IMAGES

Headers = list[tuple[str, bytes | None]]

UNREADABLE_NAME = "\N{REPLACEMENT CHARACTER}"
HEADER_OVERHEAD = 200
"""Bytes that a header takes as Python objects, even an empty one."""

_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000
_LAST_MS = 253_402_300_799_999
_MOST_RUNS = 4096
_FIRST, _SECOND = itemgetter(0), itemgetter(1)
_HEADERS = RAW_IMAGES.schema.field("headers").type


class Record(Protocol):
    """What is used of a confluent-kafka Message."""

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


_FRESH_SHA256 = hashlib.sha256()


def _sha256(value: bytes) -> bytes:
    """Its digest. Out of a copy: OpenSSL looks its algorithms up for each new one, a quarter of the time for 1 kB."""
    digest = _FRESH_SHA256.copy()
    digest.update(value)
    return digest.digest()


class ValueBuffer:
    """Memory for the values of one batch; give it to the next batch once the table over it is written."""

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        self.used = 0

    def put(self, values: Sequence[bytes | None], total: int) -> None:
        """Copy values one after the other behind those already here; `total` is their length in bytes."""
        needed = self.used + total
        if needed > len(self.memory):
            grown = bytearray(max(needed, 2 * len(self.memory)))
            grown[: self.used] = memoryview(self.memory)[: self.used]
            self.memory = grown
        with memoryview(self.memory) as view:
            at = self.used
            for value in values:
                if value:
                    end = at + len(value)
                    view[at:end] = value
                    at = end
        self.used = needed

    def clear(self) -> None:
        """Begin again; tables made over this memory must be gone."""
        self.used = 0


class Batch:
    """Records on their way into one commit."""

    def __init__(self, buffer: ValueBuffer) -> None:
        buffer.clear()
        self.buffer = buffer
        self.last: dict[int, int] = {}
        """Last offset by partition."""
        self._beside = 0
        self._runs: list[tuple[int, int, int]] = []
        self._sizes: list[int] = []
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._keys: list[bytes | None] = []
        self._digests: list[bytes | None] = []
        self._header_counts: list[int] = []
        self._header_names: list[str] = []
        self._header_values: list[bytes | None] = []
        # Joined as they come: for their weight, and so that the whole is joined out of few.
        self._joined_names: list[str] = []
        self._joined_values: list[bytes] = []

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        """Bytes of the values so far."""
        return self.buffer.used

    @property
    def weight(self) -> int:
        """Bytes by which a batch is full: of values, keys and headers, or of the objects that headers are, whichever is
        more. A record may have 20 MB of headers and no value, or 100,000 headers of nothing."""
        return max(self.buffer.used + self._beside, HEADER_OVERHEAD * len(self._header_names))

    def add(self, partition: int, records: Sequence[Record]) -> None:
        """Take records of one partition, offsets rising."""
        kind = type(records[0])
        values = list(map(kind.value, records))
        sizes = [-1 if value is None else len(value) for value in values]
        start = len(self._sizes)
        self.buffer.put(values, sum(sizes) + sizes.count(-1))
        self._sizes += sizes
        self._offsets += map(kind.offset, records)
        self._times += [time for _, time in map(kind.timestamp, records)]
        keys = list(map(kind.key, records))
        self._keys += keys
        # While the values are still in the processor's cache.
        self._digests += [None if value is None else _sha256(value) for value in values]
        headers = headers_of(records)
        self._header_counts += [-1 if pairs is None else len(pairs) for pairs in headers]
        # Flat at once: millions of pairs kept would have the garbage collector walk over all of them again and again.
        pairs = list(chain.from_iterable(filter(None, headers)))
        header_names = list(map(_FIRST, pairs))
        self._header_names += header_names
        header_values = list(map(_SECOND, pairs))
        self._header_values += header_values
        self._joined_names.append("".join(header_names))
        self._joined_values.append(joined(header_values))
        self._beside += len(self._joined_names[-1]) + len(self._joined_values[-1]) + sum(map(len, filter(None, keys)))
        self._runs.append((partition, start, len(records)))
        self.last[partition] = self._offsets[-1]

    def table(self, topic: str, topic_id: str, origin_cluster: str, landed_at: datetime) -> pa.Table:
        """The rows, in the schema of bronze, ordered by partition and offset. Valid until the buffer is used again."""
        rows = len(self)
        sizes = np.array(self._sizes, dtype=np.int64)
        times = np.clip(np.array(self._times, dtype=np.int64), 0, _LAST_MS)
        headers, days = self._header_columns(times // _DAY_MS)
        partitions = np.empty(rows, dtype=np.int32)
        for partition, start, count in self._runs:
            partitions[start : start + count] = partition
        landed = int(landed_at.timestamp() * 1_000_000)
        columns = {
            "topic": repeated_text(topic, rows),
            "topic_id": repeated_text(topic_id, rows),
            "partition": fixed_array(partitions, pa.int32()),
            "offset": fixed_array(np.array(self._offsets, dtype=np.int64), pa.int64()),
            "timestamp": fixed_array(times * 1000, pa.timestamp("us", tz="UTC")),
            "key": binary_array(self._keys),
            "headers": headers,
            "payload": binary_over(self.buffer.memory, sizes),
            "payload_sha256": binary_array(self._digests),
            "origin_cluster": repeated_text(origin_cluster, rows),
            "landed_at": fixed_array(np.full(rows, landed, dtype=np.int64), pa.timestamp("us", tz="UTC")),
            "day": fixed_array(days.astype(np.int32), pa.date32()),
        }
        schema = RAW_IMAGES.schema
        return self._grouped(pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema))

    def _grouped(self, table: pa.Table) -> pa.Table:
        runs = sorted(self._runs, key=lambda run: run[0])
        if runs == self._runs:
            return table
        if len(runs) > _MOST_RUNS:
            order = np.concatenate([np.arange(start, start + count) for _, start, count in runs])
            return table.take(fixed_array(order, pa.int64()))
        return pa.concat_tables([table.slice(start, count) for _, start, count in runs])

    def _header_columns(self, append_days: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        """The column of headers, and the day of each record as days since 1970."""
        counts = np.array(self._header_counts, dtype=np.int64)
        name_array = text_array(self._header_names, "".join(self._joined_names))
        value_array = binary_array(self._header_values, b"".join(self._joined_values))
        pairs = pa.StructArray.from_arrays([name_array, value_array], fields=list(_HEADERS.value_type))
        offsets, valid, nulls = offsets_and_validity(counts)
        column = pa.Array.from_buffers(
            _HEADERS, len(counts), [valid, pa.py_buffer(offsets)], null_count=nulls, children=[pairs]
        )
        return column, _days(append_days, counts, self._header_names, name_array, self._header_values)


def headers_of(records: Sequence[Record]) -> list[Headers | None]:
    """Headers of each record; names that are not UTF-8 become U+FFFD.

    By `map`, and never as `record.headers()`: Python 3.11 calls a client's method directly there, and the error of such
    a name then shows at some later statement.
    """
    found: list[Headers | None] = []
    read = map(type(records[0]).headers, records)
    while len(found) < len(records):
        try:
            found.extend(read)
        except SystemError:
            found.append(repaired_headers(records[len(found)]))
    return found


def repaired_headers(record: Record) -> Headers | None:
    """Headers of a record whose first call of `headers()` raised SystemError: names that are not UTF-8 become U+FFFD.

    From the second call on the client returns its list, with a hole in the place of each such name. Reading a hole ends
    the process, so the garbage collector is asked what a pair holds: it steps over holes.
    """
    pairs = record.headers()
    if pairs is None:
        return None
    return [pair if len(gc.get_referents(pair)) == len(pair) else (UNREADABLE_NAME, pair[1]) for pair in pairs]


def _days(
    append_days: np.ndarray,
    counts: np.ndarray,
    names: list[str],
    name_array: pa.Array,
    values: Sequence[bytes | None],
) -> np.ndarray:
    """Day of each record, by the protocol's rule; one decision for each distinct pair of header and day of append."""
    days = append_days.copy()
    if "day" not in names:
        return days
    at = places_of(name_array[names.index("day")], name_array)
    owners = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))[at]
    # The first of several headers of that name counts.
    owners, first = np.unique(owners, return_index=True)
    asked = list(zip(map(values.__getitem__, at[first].tolist()), append_days[owners].tolist(), strict=True))
    decided = {
        (header, appended): (record_day(header, _EPOCH + timedelta(days=appended)) - _EPOCH).days
        for header, appended in set(asked)
    }
    days[owners] = np.fromiter(map(decided.__getitem__, asked), dtype=np.int64, count=len(asked))
    return days
