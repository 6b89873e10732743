"""Kafka records to bronze rows: every byte as sent, in order of partition and offset."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from transforms.landing import HEADER_OVERHEAD, UNREADABLE_NAME, Batch, Headers, ValueBuffer, repaired_headers
from transforms.tables import RAW_IMAGES

TOPIC_ID = "AAAAAAAAQACAAAAAAAAAAA"
NOON = 1772712000123
LANDED = datetime(2026, 3, 5, 12, 0, 1, 5, tzinfo=UTC)


@dataclass
class Sent:
    """Stands for a client's message."""

    at: int
    body: bytes | None = b"value"
    name: bytes | None = b"key"
    pairs: Headers | None = None
    milliseconds: int = NOON

    def offset(self) -> int:
        """As the client's."""
        return self.at

    def timestamp(self) -> tuple[int, int]:
        """As the client's."""
        return 2, self.milliseconds

    def key(self) -> bytes | None:
        """As the client's."""
        return self.name

    def value(self) -> bytes | None:
        """As the client's."""
        return self.body

    def headers(self) -> Headers | None:
        """As the client's."""
        return self.pairs


@dataclass
class Unreadable(Sent):
    """A message with a header name that is not UTF-8: the client raises once, then returns what it has."""

    asked: int = field(default=0)

    def headers(self) -> Headers | None:
        """As the client's."""
        self.asked += 1
        if self.asked == 1:
            raise SystemError("returned a result with an exception set")
        return self.pairs


def landed(*runs: tuple[int, list[Sent]], buffer: ValueBuffer | None = None) -> pa.Table:
    """Rows of runs of one partition each."""
    batch = Batch(buffer or ValueBuffer(16))
    for partition, records in runs:
        batch.add(partition, records)
    table = batch.table("images.raw", TOPIC_ID, "home", LANDED)
    table.validate(full=True)
    assert table.schema.equals(RAW_IMAGES.schema)
    return table


def one(record: Sent) -> dict[str, object]:
    """The row of one record."""
    return landed((0, [record])).to_pylist()[0]


def test_a_record_lands_with_its_origin_and_both_times() -> None:
    row = one(Sent(7, b"abc", b"k", [("v", b"1"), ("id", b"x")]))
    assert row == {
        "topic": "images.raw",
        "topic_id": TOPIC_ID,
        "partition": 0,
        "offset": 7,
        "timestamp": datetime(2026, 3, 5, 12, 0, 0, 123000, tzinfo=UTC),
        "key": b"k",
        "headers": [{"key": "v", "value": b"1"}, {"key": "id", "value": b"x"}],
        "payload": b"abc",
        "payload_sha256": hashlib.sha256(b"abc").digest(),
        "origin_cluster": "home",
        "landed_at": LANDED,
        "day": date(2026, 3, 5),
    }


def test_a_tombstone_is_not_an_empty_value() -> None:
    rows = landed((0, [Sent(0, None), Sent(1, b""), Sent(2, b"x")])).to_pylist()
    assert [row["payload"] for row in rows] == [None, b"", b"x"]
    assert [row["payload_sha256"] for row in rows] == [
        None,
        hashlib.sha256(b"").digest(),
        hashlib.sha256(b"x").digest(),
    ]


def test_a_missing_key_and_missing_headers_stay_missing() -> None:
    rows = landed((0, [Sent(0, name=None), Sent(1, name=b"", pairs=[]), Sent(2, pairs=[("a", None)])])).to_pylist()
    assert [row["key"] for row in rows] == [None, b"", b"key"]
    assert [row["headers"] for row in rows] == [None, [], [{"key": "a", "value": None}]]


def test_bytes_that_are_no_text_land_as_they_are() -> None:
    row = one(Sent(0, b"\x00\xff", b"\xff\xfe", [("label", b"\xc3\x28"), ("näme", b"\x80")]))
    assert (row["key"], row["payload"]) == (b"\xff\xfe", b"\x00\xff")
    assert row["headers"] == [{"key": "label", "value": b"\xc3\x28"}, {"key": "näme", "value": b"\x80"}]


def test_the_same_header_twice_lands_twice_in_order() -> None:
    row = one(Sent(0, pairs=[("a", b"1"), ("a", b"2")]))
    assert row["headers"] == [{"key": "a", "value": b"1"}, {"key": "a", "value": b"2"}]


def test_a_record_whose_header_name_the_client_cannot_read_stops_nobody() -> None:
    records = [Sent(0, pairs=[("a", b"0")]), Unreadable(1, pairs=[("b", b"1")]), Sent(2, pairs=[("c", b"2")])]
    rows = landed((0, records)).to_pylist()
    assert [row["headers"][0]["key"] for row in rows] == ["a", "b", "c"]


def test_a_hole_in_a_pair_is_stepped_over_and_named() -> None:
    holed = _pair_with_a_hole(b"1")
    record = Sent(0, pairs=[("good", b"0"), holed])
    assert repaired_headers(record) == [("good", b"0"), (UNREADABLE_NAME, b"1")]


def test_runs_of_partitions_are_grouped_and_keep_their_order() -> None:
    table = landed(
        (1, [Sent(4, b"d"), Sent(5, b"e")]),
        (0, [Sent(9, b"a")]),
        (1, [Sent(8, b"f")]),
        (0, [Sent(10, b"b"), Sent(12, b"c")]),
    )
    rows = table.select(["partition", "offset", "payload"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (0, 9, b"a"),
        (0, 10, b"b"),
        (0, 12, b"c"),
        (1, 4, b"d"),
        (1, 5, b"e"),
        (1, 8, b"f"),
    ]


def test_very_many_runs_are_grouped_as_well() -> None:
    runs = [(at % 3, [Sent(at, str(at).encode())]) for at in range(6000)]
    rows = landed(*runs).select(["partition", "offset", "payload"]).to_pylist()
    assert [(row["partition"], row["offset"]) for row in rows] == sorted((at % 3, at) for at in range(6000))
    assert all(row["payload"] == str(row["offset"]).encode() for row in rows)


def test_a_value_larger_than_the_buffer_lands_whole() -> None:
    large = bytes(range(256)) * 400
    rows = landed((0, [Sent(0, b"a"), Sent(1, large), Sent(2, b"b")]), buffer=ValueBuffer(8)).to_pylist()
    assert [row["payload"] for row in rows] == [b"a", large, b"b"]


def test_a_buffer_used_again_holds_only_the_new_values() -> None:
    buffer = ValueBuffer(64)
    landed((0, [Sent(0, b"the first batch")]), buffer=buffer)
    rows = landed((0, [Sent(1, b"2nd"), Sent(2, None)]), buffer=buffer).to_pylist()
    assert [row["payload"] for row in rows] == [b"2nd", None]


def test_the_batch_knows_its_size_and_last_offsets() -> None:
    batch = Batch(ValueBuffer(16))
    batch.add(3, [Sent(4, b"1234"), Sent(9, None)])
    batch.add(1, [Sent(2, b"56")])
    assert (len(batch), batch.bytes, batch.last) == (3, 6, {3: 9, 1: 2})


def test_the_first_of_several_day_headers_counts() -> None:
    row = one(Sent(0, pairs=[("x", b"2026-03-04"), ("day", b"2026-03-04"), ("day", b"2026-03-06")]))
    assert row["day"] == date(2026, 3, 4)


def test_each_record_has_the_day_of_its_own_header() -> None:
    pairs: list[Headers | None] = [
        None,
        [("day", b"2026-03-06")],
        [("v", b"1")],
        [("day", b"1999-01-01")],
        [("day", None)],
    ]
    rows = landed((0, [Sent(at, pairs=headers) for at, headers in enumerate(pairs)])).to_pylist()
    assert [row["day"].day for row in rows] == [5, 6, 5, 5, 5]


@pytest.mark.parametrize(("milliseconds", "year"), [(-1, 1970), (2**62, 9999)])
def test_a_time_beyond_the_calendar_is_clipped_and_stops_nobody(milliseconds: int, year: int) -> None:
    row = one(Sent(0, milliseconds=milliseconds))
    assert isinstance(row["timestamp"], datetime)
    assert row["timestamp"].year == year


def test_landing_never_imports_pandas_for_that_takes_seconds_of_every_run() -> None:
    program = (
        "import sys\n"
        "from tests.transforms.test_landing import Sent, landed\n"
        "landed((0, [Sent(0, pairs=[('day', b'2026-03-04'), ('v', None)]), Sent(1)]), (1, [Sent(0, None)]))\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60, cwd=root).returncode == 0


def _pair_with_a_hole(value: bytes) -> tuple[str, bytes]:
    """A tuple whose first place holds nothing, as confluent-kafka leaves it."""
    pair = ("a name that is lost", value)
    ctypes.c_void_p.from_address(id(pair) + tuple.__basicsize__).value = None
    return pair


def test_a_batch_knows_the_weight_of_keys_and_headers_too() -> None:
    """Landing commits by it: else records of nothing but headers would fill the memory."""
    batch = Batch(ValueBuffer(16))
    batch.add(0, [Sent(0, None, b"k" * 7, [("name", b"h" * 100), ("none", None)]), Sent(1, b"abc", None, None)])
    # Many small headers weigh what they take as objects.
    assert (batch.bytes, batch.weight) == (3, 2 * HEADER_OVERHEAD)
    batch.add(0, [Sent(2, None, None, [("name", b"h" * 1000)])])
    assert (batch.bytes, batch.weight) == (3, 3 + 7 + 4 + 100 + 4 + 4 + 1000)
