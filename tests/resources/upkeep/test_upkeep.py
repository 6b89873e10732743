"""Upkeep changes no row, no order and no identifier of a table; the projection is filled again from the lake."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from resources.bronze import read_since
from resources.completeness import Range, missing
from resources.keys import open_key_store
from resources.lake import Lake, open_lake
from resources.postgres import StatusRow
from resources.settings import Settings
from resources.status_rebuild import rebuild
from resources.upkeep import contents, maintain
from tests.resources.developing.bronze_rows import TOPIC, TOPIC_ID, Bronze
from transforms.landing_protocol import Position
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES, TableSpec

AT = {p: Position(TOPIC, p, TOPIC_ID) for p in (0, 1)}
COMMITS = 12


@pytest.fixture
def bronze(tmp_path: Path) -> Bronze:
    """Bronze of many small commits over two partitions."""
    settings = Settings(home=tmp_path)
    keys = open_key_store(settings)
    keys.initialise()
    made = Bronze(open_lake(settings), keys)
    for number in range(COMMITS):
        for partition in (0, 1):
            made.plain(f"{partition}-{number}".encode() * 50, partition=partition)
            made.plain(None, partition=partition)
        made.land()
    return made


def read(lake: Lake) -> list[tuple[int, int, bytes | None]]:
    """Bronze as developing reads it."""
    batches = read_since(lake, {AT[0]: 3, AT[1]: -1}, 2000)
    return [(row["partition"], row["offset"], row["payload"]) for batch in batches for row in batch.to_pylist()]


def test_compaction_leaves_rows_order_and_identifiers(bronze: Bronze):
    before = read(bronze.lake)
    done = maintain(bronze.lake, RAW_IMAGES)
    assert done is not None
    assert (done.files_before, done.files_after, done.rows) == (COMMITS, 1, COMMITS * 4)
    assert read(bronze.lake) == before
    handle = bronze.lake.open(RAW_IMAGES.name)
    assert [bronze.lake.identifier(handle, AT[p].app_id) for p in (0, 1)] == [COMMITS * 2 - 1] * 2


def test_landing_goes_on_with_a_handle_from_before_compaction(bronze: Bronze):
    """Upkeep and a lander may overlap: compaction is no data change and moves no identifier."""
    handle = bronze.lake.open(RAW_IMAGES.name)
    bronze.plain(b"one more")
    maintain(bronze.lake, RAW_IMAGES)
    data = pa.Table.from_pylist(bronze.rows, schema=RAW_IMAGES.schema)
    bronze.lake.append(handle, RAW_IMAGES, data, {AT[0].app_id: bronze.offsets[0]})
    assert contents(bronze.lake.open(RAW_IMAGES.name))[2] == COMMITS * 4 + 1


def test_upkeep_twice_does_nothing_the_second_time(bronze: Bronze):
    first = maintain(bronze.lake, RAW_IMAGES)
    second = maintain(bronze.lake, RAW_IMAGES)
    assert first is not None and second is not None
    assert (second.files_after, second.version) == (1, first.version)


def test_files_that_no_version_needs_are_removed_and_young_ones_stay(bronze: Bronze, tmp_path: Path):
    folder = tmp_path / "lake" / RAW_IMAGES.name
    orphan = next(folder.glob("day=*")) / "left-by-a-killed-writer.parquet"
    orphan.write_bytes(b"half a file")
    kept = maintain(bronze.lake, RAW_IMAGES)
    assert kept is not None and kept.removed_files == 0
    assert orphan.exists()
    gone = maintain(bronze.lake, RAW_IMAGES, keep_hours=0)
    assert gone is not None and gone.removed_files == COMMITS + 1
    assert not orphan.exists()
    assert len(read(bronze.lake)) == COMMITS * 4 - 4


def test_opening_reads_a_checkpoint_afterwards(bronze: Bronze, tmp_path: Path):
    done = maintain(bronze.lake, RAW_IMAGES)
    assert done is not None
    log = tmp_path / "lake" / RAW_IMAGES.name / "_delta_log"
    assert list(log.glob(f"{done.version:020}.checkpoint*.parquet"))


def test_a_table_that_is_not_there_yet_is_left_alone(tmp_path: Path):
    assert maintain(open_lake(Settings(home=tmp_path)), RAW_IMAGES) is None
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([], [(5, 10)]),
        ([5, 6, 7, 8, 9], []),
        ([6, 7, 9], [(5, 6), (8, 9)]),
        ([5], [(6, 10)]),
        ([9], [(5, 9)]),
    ],
)
def test_missing_offsets_are_named_as_ranges(offsets: list[int], expected: list[tuple[int, int]]):
    found = missing(Range(0, 5, 10), np.array(offsets, dtype=np.int64))
    assert [(one.first, one.end) for one in found] == expected


class Board:
    """Stands in for the projection: keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[StatusRow] = []

    def put_many(self, rows: list[StatusRow]) -> None:
        self.rows += rows


def write(lake: Lake, spec: TableSpec, rows: list[dict]) -> None:
    """Rows with the given values; the rest is whatever fits the column."""
    now = datetime.now(UTC)
    fill = {
        "string": "x",
        "int32": 1,
        "int64": 1,
        "double": 1.0,
        "date32[day]": now.date(),
        "timestamp[us, tz=UTC]": now,
    }
    full = [{f.name: fill.get(str(f.type)) if not f.nullable else None for f in spec.schema} | row for row in rows]
    lake.append(lake.ensure(spec), spec, pa.Table.from_pylist(full, schema=spec.schema))


def test_the_projection_is_filled_again_from_the_lake(tmp_path: Path):
    lake, board = open_lake(Settings(home=tmp_path)), Board()
    day = date(2026, 3, 5)

    def key(day: date) -> str:
        return f"{day.isoformat()}_{'a' * 16}_{'b' * 13}"

    write(
        lake,
        PROCESSED_IMAGES,
        [
            # Appended days off the key's day, which is the one that the pseudonym holds for.
            {
                "id": f"p{n}",
                "day": day + timedelta(days=3),
                "pseudonym": "who",
                "key": key(day - timedelta(days=n % 2)),
                "via": "uploads",
            }
            for n in range(5)
        ],
    )
    write(
        lake,
        QUARANTINED_IMAGES,
        [
            {
                "id": "q",
                "day": day + timedelta(days=3),
                "pseudonym": "who",
                "key": key(day),
                "groups": [],
                "reason": "corrupt",
            },
            {"id": "plain", "day": day, "pseudonym": "who", "groups": [], "reason": "corrupt"},
            {"id": None, "day": day, "pseudonym": None, "reason": "tombstone"},
        ],
    )
    assert rebuild(lake, board) == {"quarantined": 1, "processed": 5}
    assert {(row.id, row.state, row.reason) for row in board.rows} == {
        ("q", "quarantined", "corrupt"),
        *((f"p{n}", "processed", None) for n in range(5)),
    }
    assert {row.day for row in board.rows} == {day, day - timedelta(days=1)}


def test_an_empty_lake_fills_an_empty_projection(tmp_path: Path):
    board = Board()
    assert rebuild(open_lake(Settings(home=tmp_path)), board) == {"quarantined": 0, "processed": 0}
    assert board.rows == []
