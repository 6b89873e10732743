"""Reading bronze by offset: in order, completely, and never all of it at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import WriterProperties, write_deltalake

from resources.bronze import read_since
from resources.lake import Lake, TableMissing
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES

TOPIC_ID, OLDER_ID = "AAAAAAAAQACAAAAAAAAAAA", "BBBBBBBBQACAAAAAAAAAAA"
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
TODAY, TOMORROW = date(2026, 3, 5), date(2026, 3, 6)
ALL = 1 << 30


def at(partition: int, topic_id: str = TOPIC_ID) -> Position:
    """A position of the test's topic."""
    return Position("images.raw", partition, topic_id)


def records(
    partition: int,
    offsets: Sequence[int],
    day: date = TODAY,
    payload: bytes | None = b"p",
    topic_id: str = TOPIC_ID,
    topic: str = "images.raw",
) -> pa.Table:
    """Rows of bronze."""
    rows = [
        {
            "topic": topic,
            "topic_id": topic_id,
            "partition": partition,
            "offset": offset,
            "timestamp": NOW,
            "key": str(offset).encode(),
            "headers": [{"key": "v", "value": b"1"}],
            "payload": payload,
            "payload_sha256": None,
            "origin_cluster": "home",
            "landed_at": NOW,
            "day": day,
        }
        for offset in offsets
    ]
    return pa.Table.from_pylist(rows, schema=RAW_IMAGES.schema)


def land(lake: Lake, *tables: pa.Table) -> None:
    """One commit a table."""
    handle = lake.ensure(RAW_IMAGES)
    for table in tables:
        lake.append(handle, RAW_IMAGES, table)


def seen(
    lake: Lake, positions: dict[Position, int], batch_bytes: int = ALL, until: dict[Position, int] | None = None
) -> list[tuple[int, int]]:
    """(partition, offset) in the order in which they are read."""
    pairs: list[tuple[int, int]] = []
    for batch in read_since(lake, positions, batch_bytes, until=until):
        assert batch.schema.equals(RAW_IMAGES.schema)
        assert batch.column("key").to_pylist() == [str(o).encode() for o in batch.column("offset").to_pylist()]
        pairs += zip(batch.column("partition").to_pylist(), batch.column("offset").to_pylist(), strict=True)
    return pairs


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))


def test_rows_come_by_partition_and_offset_whatever_commit_and_day_they_are_in(lake: Lake) -> None:
    land(
        lake,
        pa.concat_tables([records(0, [0, 1]), records(1, [0])]),
        pa.concat_tables([records(0, [2], TOMORROW), records(0, [3]), records(1, [1, 2], TOMORROW)]),
    )
    assert seen(lake, {at(0): -1, at(1): -1}) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]


def test_only_rows_behind_each_partitions_own_offset_are_read(lake: Lake) -> None:
    land(lake, pa.concat_tables([records(0, range(10)), records(1, range(10))]), records(0, range(10, 12)))
    assert seen(lake, {at(0): 8, at(1): 9}) == [(0, 9), (0, 10), (0, 11)]
    assert seen(lake, {at(1): 7}) == [(1, 8), (1, 9)]
    assert seen(lake, {at(0): 11, at(1): 9}) == []
    assert seen(lake, {}) == []


def test_an_end_is_the_last_offset_read_of_its_partition_and_of_no_other(lake: Lake) -> None:
    land(lake, pa.concat_tables([records(0, range(10)), records(1, range(10))]), records(0, range(10, 12)))
    assert seen(lake, {at(0): 7, at(1): 8}, until={at(0): 10}) == [(0, 8), (0, 9), (0, 10), (1, 9)]
    assert seen(lake, {at(0): 7}, until={at(0): 7}) == []


def test_another_topic_and_an_older_life_of_the_same_are_told_apart(lake: Lake) -> None:
    land(
        lake,
        records(0, [0, 1, 2], topic_id=OLDER_ID),
        records(0, [0, 1]),
        pa.concat_tables([records(0, [5], topic="images.other"), records(0, [2])]),
    )
    assert seen(lake, {at(0): -1}) == [(0, 0), (0, 1), (0, 2)]
    assert seen(lake, {at(0, OLDER_ID): 0}) == [(0, 1), (0, 2)]


def test_files_and_row_groups_that_hold_nothing_new_are_not_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    land(lake, *(pa.concat_tables([records(p, range(at, at + 10)) for p in (0, 1)]) for at in range(0, 100, 10)))
    opened: list[object] = []
    groups: list[int] = []
    original, read = pq.ParquetFile.__init__, pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, *arguments: object, **options: object) -> None:
        opened.append(arguments)
        original(self, *arguments, **options)

    def reading(self: pq.ParquetFile, index: int, *arguments: object, **options: object) -> pa.Table:
        groups.append(index)
        return read(self, index, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "__init__", counting)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", reading)
    assert seen(lake, {at(1): 89}) == [(1, offset) for offset in range(90, 100)]
    assert len(opened) == 1
    assert set(groups) == {1}
    opened.clear()
    assert seen(lake, {at(0): 9, at(1): 9}, until={at(0): 19, at(1): 12}) == [
        *((0, offset) for offset in range(10, 20)),
        *((1, offset) for offset in range(10, 13)),
    ]
    assert len(opened) == 1, "nor those behind the end"


def test_a_batch_holds_no_more_than_asked_for_or_one_record(lake: Lake) -> None:
    sizes = [1000] * 20 + [50_000] + [1000] * 5
    land(lake, *(records(0, [offset], payload=os.urandom(size)) for offset, size in enumerate(sizes)))
    batches = list(read_since(lake, {at(0): -1}, 8000))
    assert [offset for batch in batches for offset in batch.column("offset").to_pylist()] == list(range(26))
    held = [sum(len(value) for value in batch.column("payload").to_pylist()) for batch in batches]
    assert [size for size in held if size > 8000] == [50_000]
    assert max(batch.num_rows for batch in batches) == 6


def test_tombstones_are_read_and_counted_for_memory(lake: Lake) -> None:
    land(lake, records(0, range(100), payload=None))
    batches = list(read_since(lake, {at(0): -1}, 2560))
    assert [batch.num_rows for batch in batches] == [10] * 10
    assert batches[0].column("payload").to_pylist() == [None] * 10


def test_headers_are_counted_for_memory(lake: Lake) -> None:
    """A record may have no payload and megabytes of headers: a batch of such must not be the whole backlog."""
    rows = records(0, range(40), payload=None)
    headers = [[{"key": "h", "value": os.urandom(10_000)}]] * 40
    place = rows.schema.get_field_index("headers")
    land(lake, rows.set_column(place, rows.schema.field(place), pa.array(headers, rows.schema.field(place).type)))
    batches = list(read_since(lake, {at(0): -1}, 50_000))
    assert sum(batch.num_rows for batch in batches) == 40
    assert max(batch.num_rows for batch in batches) <= 5


def test_compaction_changes_neither_rows_nor_order(lake: Lake) -> None:
    land(lake, *(pa.concat_tables([records(p, range(at, at + 3)) for p in (0, 1, 2)]) for at in range(0, 30, 3)))
    positions = {at(0): 4, at(1): -1, at(2): 20}
    before = seen(lake, positions)
    handle = lake.open(RAW_IMAGES.name)
    handle.optimize.compact(writer_properties=WriterProperties(max_row_group_size=16))
    assert len(handle.file_uris()) == 1
    assert seen(lake, positions) == before
    assert seen(lake, positions, 1000) == before
    assert before == sorted(before)


def test_rows_that_another_writer_mixed_up_are_put_in_order(lake: Lake) -> None:
    lake.ensure(RAW_IMAGES)
    for offsets in ([9, 3, 6], [0, 8, 2], [7, 1, 5, 4]):
        mixed = pa.concat_tables([table for o in offsets for table in (records(1, [o]), records(0, [o]))])
        write_deltalake(lake.uri(RAW_IMAGES.name), mixed, mode="append")
    expected = [(p, offset) for p in (0, 1) for offset in range(2, 10)]
    assert seen(lake, {at(0): 1, at(1): 1}) == expected
    assert seen(lake, {at(0): 1, at(1): 1}, 600) == expected


def test_a_snapshot_stays_what_it_was(lake: Lake) -> None:
    land(lake, records(0, [0]))
    handle = lake.open(RAW_IMAGES.name)
    land(lake, records(0, [1]))
    batches = read_since(lake, {at(0): -1}, ALL, handle=handle)
    assert [batch.column("offset").to_pylist() for batch in batches] == [[0]]


def test_a_missing_table_is_said_and_not_read_as_empty(lake: Lake) -> None:
    with pytest.raises(TableMissing):
        list(read_since(lake, {at(0): -1}, ALL))
