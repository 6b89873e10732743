"""The demo's sum, on small tables of every case: each landed record has its place, or is named as having none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cli.account import Account, Since, take_account
from resources.lake import Lake
from transforms.retention import ERASED_HEADER
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES, TableSpec

TOPIC, TOPIC_ID = "images.raw", "AAAAAAAAAAAAAAAAAAAAAA"
DAY = date(2026, 3, 14)
VALUES: dict[pa.DataType, Any] = {
    pa.string(): "x",
    pa.int32(): 1,
    pa.int64(): 1,
    pa.float64(): 1.0,
    pa.date32(): DAY,
    pa.timestamp("us", tz="UTC"): datetime(2026, 3, 14, tzinfo=UTC),
}


def write(lake: Lake, spec: TableSpec, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with some value in every column that must have one."""
    full = [{f.name: None if f.nullable else VALUES.get(f.type) for f in spec.schema} | row for row in rows]
    lake.append(lake.ensure(spec), spec, pa.Table.from_pylist(full, schema=spec.schema))


def at(offset: int, partition: int = 0, topic_id: str = TOPIC_ID) -> dict[str, Any]:
    return {"topic": TOPIC, "topic_id": topic_id, "partition": partition, "offset": offset}


def landed(offset: int, key: bytes | None, value: bytes = b"value", **more: Any) -> dict[str, Any]:
    return at(offset, **more) | {"key": key, "payload": value, "payload_sha256": sha256(value).digest(), "day": DAY}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_an_empty_lake_adds_up(lake):
    account = take_account(lake)
    assert account == Account(0, 0, {}, 0, 0)
    assert account.adds_up


def test_every_record_is_processed_quarantined_or_a_resend(lake):
    write(
        lake,
        RAW_IMAGES,
        [
            landed(0, b"a"),
            landed(1, b"b"),
            landed(2, b"a", b"sealed with another nonce"),
            landed(3, b"\xff\xfe", b"junk"),
            landed(4, None, b"plain"),
            landed(5, None, b"plain"),
        ],
    )
    write(lake, PROCESSED_IMAGES, [at(0) | {"id": "a"}, at(1) | {"id": "b"}, at(4) | {"id": "unsealed"}])
    write(lake, QUARANTINED_IMAGES, [at(3) | {"reason": "corrupt"}])
    account = take_account(lake)
    assert account == Account(landed=6, processed=3, quarantined={"corrupt": 1}, resends=2, unexplained=0)
    assert account.adds_up


def test_a_record_in_no_table_is_unexplained(lake):
    write(lake, RAW_IMAGES, [landed(0, b"a", b"one"), landed(1, b"lost", b"two"), landed(2, None, b"three")])
    write(lake, PROCESSED_IMAGES, [at(0) | {"id": "a"}])
    account = take_account(lake)
    assert (account.unexplained, account.adds_up) == (2, False)


def test_an_erased_record_is_explained_and_one_that_only_says_so_is_not(lake):
    mark = [{"key": ERASED_HEADER, "value": b""}]
    erased = at(0) | {"key": None, "payload": None, "payload_sha256": None, "headers": mark, "day": DAY}
    write(lake, RAW_IMAGES, [erased])
    assert take_account(lake) == Account(landed=1, processed=0, quarantined={}, resends=0, unexplained=0, erased=1)
    assert take_account(lake).adds_up
    write(lake, RAW_IMAGES, [landed(1, b"lost") | {"headers": mark}, landed(2, None) | {"headers": mark * 2}])
    account = take_account(lake)
    assert (account.erased, account.unexplained, account.adds_up) == (1, 2, False)


def test_a_record_in_both_tables_does_not_add_up(lake):
    write(lake, RAW_IMAGES, [landed(0, b"a")])
    write(lake, PROCESSED_IMAGES, [at(0) | {"id": "a"}])
    write(lake, QUARANTINED_IMAGES, [at(0) | {"reason": "corrupt"}])
    assert not take_account(lake).adds_up


def test_only_records_since_the_start_are_counted_and_an_older_topic_is_not(lake):
    old = "BBBBBBBBBBBBBBBBBBBBBB"
    write(
        lake,
        RAW_IMAGES,
        [landed(7, b"z", topic_id=old), landed(0, b"a"), landed(1, b"b"), landed(0, b"c", partition=1)],
    )
    write(
        lake,
        PROCESSED_IMAGES,
        [
            at(7, topic_id=old) | {"id": "z"},
            at(0) | {"id": "a"},
            at(1) | {"id": "b"},
            at(0, partition=1) | {"id": "c"},
        ],
    )
    since = Since(TOPIC, TOPIC_ID, {0: 1, 1: 0})
    assert take_account(lake, since) == Account(2, 2, {}, 0, 0)
    assert take_account(lake).landed == 4
