"""The lake: commits that stand wholly or not at all, identifiers that only rise, days that stay apart."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks._s3 import S3Server
from resources.failures import is_permanent
from resources.lake import (
    CommitConflict,
    IdentifierRefused,
    Lake,
    LakeFull,
    LakeUnavailable,
    SchemaRefused,
    TableMissing,
)
from resources.lake_log import files_of
from resources.object_storage import Storage
from transforms.tables import DAILY_UPLOADS, RAW_IMAGES, TABLES, TableSpec

Place = Callable[[str], Path]
NOW = datetime(2026, 3, 5, 12, 0, 0, 123456, tzinfo=UTC)
TODAY, TOMORROW = date(2026, 3, 5), date(2026, 3, 6)
SMALL = TableSpec(
    name="trial/small",
    description="A table for trials.",
    schema=pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("day", pa.date32(), nullable=False)]),
    statistics=("n",),
)


def numbers(*values: int, day: date = TODAY) -> pa.Table:
    """Rows of SMALL."""
    return pa.table({"n": list(values), "day": [day] * len(values)}, schema=SMALL.schema)


def records(partition: int, *offsets: int, day: date = TODAY, payload: bytes = b"p") -> pa.Table:
    """Rows of bronze."""
    row = {
        "topic": "images.raw",
        "topic_id": "AAAAAAAAQACAAAAAAAAAAA",
        "timestamp": NOW,
        "key": b"k",
        "headers": [{"key": "v", "value": b"1"}],
        "payload": payload,
        "payload_sha256": b"s" * 32,
        "origin_cluster": "home",
        "landed_at": NOW,
        "day": day,
    }
    rows = [{**row, "partition": partition, "offset": offset} for offset in offsets]
    return pa.Table.from_pylist(rows, schema=RAW_IMAGES.schema)


def stands(lake: Lake, name: str = SMALL.name) -> list[int]:
    """All n of a table, sorted, as a reader sees them."""
    return sorted(pl.read_delta(lake.open(name))["n"].to_list())


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake, in a folder and on a real S3 server."""
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    return request.getfixturevalue("s3_server").lake()


@pytest.fixture
def place(request: pytest.FixtureRequest, lake: Lake) -> Place:
    """Where a table's files lie on the disk, whatever serves them."""
    if not lake.storage.remote:
        return lambda name: Path(lake.uri(name))
    server: S3Server = request.getfixturevalue("s3_server")
    return lambda name: server.data / lake.root.rpartition("/")[2] / name


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.name)
def test_every_table_of_the_platform_can_be_made_and_opened(lake: Lake, spec: TableSpec) -> None:
    assert not lake.exists(spec.name)
    lake.ensure(spec)
    handle = lake.ensure(spec)
    # The conditions are a commit of their own.
    assert handle.version() == (1 if spec.checks else 0)
    assert handle.metadata().partition_columns == list(spec.partition_by)
    fields = {field.name: field for field in handle.schema().fields}
    assert all(fields[field.name].metadata["comment"] for field in spec.schema)


def test_a_missing_table_is_named_with_its_place(lake: Lake) -> None:
    with pytest.raises(TableMissing, match=r"trial/small.*DARKROOM_LAKE") as caught:
        lake.open(SMALL.name)
    assert is_permanent(caught.value)


def test_an_unreadable_table_is_never_taken_for_a_missing_one(lake: Lake, place: Place) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1))
    log = place(SMALL.name) / "_delta_log"
    (log / f"{0:020d}.json").write_text("this is no log")
    with pytest.raises(LakeUnavailable):
        lake.exists(SMALL.name)
    with pytest.raises(LakeUnavailable):
        lake.ensure(SMALL)
    assert len(list(log.glob("*.json"))) == 2


def test_a_log_whose_first_entries_are_gone_is_never_begun_anew(lake: Lake, place: Place) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1))
    log = place(SMALL.name) / "_delta_log"
    (log / f"{0:020d}.json").unlink()
    with pytest.raises(LakeUnavailable):
        lake.ensure(SMALL)
    assert [path.name for path in log.glob("*.json")] == [f"{1:020d}.json"]


def test_a_table_with_other_columns_is_refused_by_name(lake: Lake) -> None:
    lake.ensure(SMALL)
    other = TableSpec(SMALL.name, "", SMALL.schema.append(pa.field("m", pa.string(), nullable=False)), ("n",))
    with pytest.raises(SchemaRefused, match="Only in this release: m"):
        lake.ensure(other)


def test_rows_with_other_columns_are_refused_and_nothing_is_written(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    with pytest.raises(SchemaRefused):
        lake.append(handle, SMALL, pa.table({"n": ["one"], "day": [TODAY]}))
    with pytest.raises(SchemaRefused):
        lake.append(handle, SMALL, pa.table({"n": [None], "day": [TODAY]}))
    assert handle.version() == 0


def test_rows_and_identifiers_are_one_commit(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    assert lake.identifier(handle, "a") is None
    version = lake.append(handle, SMALL, numbers(1, 2), {"a": 7, "b": 0}, {"darkroom": "a test"})
    again = lake.open(SMALL.name)
    assert (version, again.version()) == (1, 1)
    assert (lake.identifier(again, "a"), lake.identifier(again, "b")) == (7, 0)
    assert again.history(1)[0]["darkroom"] == "a test"
    assert stands(lake) == [1, 2]


@pytest.mark.parametrize("version", [7, 6, 0])
def test_an_identifier_that_would_not_rise_is_refused_which_delta_rs_does_not_do(lake: Lake, version: int) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1), {"a": 7})
    with pytest.raises(IdentifierRefused, match=f"is 7 and would become {version}"):
        lake.append(handle, SMALL, numbers(1), {"a": version})
    assert stands(lake) == [1]


def test_marks_may_take_any_value_for_they_are_no_counters(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    for mark in (5, -(2**63), 2**63 - 1):
        lake.append(handle, SMALL, None, marks={"m": mark})
        assert lake.identifier(lake.open(SMALL.name), "m") == mark


def test_the_second_of_two_writers_is_refused_and_leaves_nothing(lake: Lake) -> None:
    lake.ensure(SMALL)
    first, second = lake.open(SMALL.name), lake.open(SMALL.name)
    lake.append(first, SMALL, numbers(1), {"a": 1})
    with pytest.raises(CommitConflict) as caught:
        lake.append(second, SMALL, numbers(1), {"a": 1})
    assert not is_permanent(caught.value)
    assert stands(lake) == [1]


def test_the_second_of_two_first_writers_is_refused_too(lake: Lake) -> None:
    lake.ensure(SMALL)
    first, second = lake.open(SMALL.name), lake.open(SMALL.name)
    lake.append(first, SMALL, numbers(1), {"never seen before": 0})
    with pytest.raises(CommitConflict):
        lake.append(second, SMALL, numbers(1), {"never seen before": 5})


def test_writers_of_different_identifiers_do_not_stand_in_each_others_way(lake: Lake) -> None:
    lake.ensure(SMALL)
    first, second = lake.open(SMALL.name), lake.open(SMALL.name)
    lake.append(first, SMALL, numbers(1), {"a": 1})
    lake.append(second, SMALL, numbers(2), {"b": 1})
    assert stands(lake) == [1, 2]


def test_a_kept_handle_that_took_in_anothers_commit_is_found_out_by_what_it_continues_from(lake: Lake) -> None:
    lake.ensure(SMALL)
    mine, other = lake.open(SMALL.name), lake.open(SMALL.name)
    lake.append(mine, SMALL, numbers(1), {"a": 1}, after={"a": None})
    other.update_incremental()
    lake.append(other, SMALL, numbers(2), {"a": 2})
    mine.update_incremental()
    with pytest.raises(CommitConflict, match="continue from 1"):
        lake.append(mine, SMALL, numbers(2, 3), {"a": 3}, after={"a": 1})
    assert stands(lake) == [1, 2]


def test_the_handle_shows_its_own_commits_and_can_go_on(lake: Lake, place: Place) -> None:
    handle = lake.ensure(SMALL)
    for value in range(45):
        lake.append(handle, SMALL, numbers(value), {"a": value}, after={"a": value - 1 if value else None})
    log = place(SMALL.name) / "_delta_log"
    assert sorted(path.name for path in log.glob("*.checkpoint.parquet")) == [
        f"{version:020d}.checkpoint.parquet" for version in (20, 40)
    ]
    assert stands(lake) == list(range(45))
    assert lake.identifier(lake.open(SMALL.name), "a") == 44


def test_an_append_and_a_compaction_do_not_stand_in_each_others_way(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    for value in range(4):
        lake.append(handle, SMALL, numbers(value), {"a": value})
    lake.open(SMALL.name).optimize.compact()
    lake.append(handle, SMALL, numbers(4), {"a": 4})
    assert stands(lake) == [0, 1, 2, 3, 4]
    assert lake.identifier(lake.open(SMALL.name), "a") == 4


def test_processes_that_append_at_once_lose_nothing(lake: Lake) -> None:
    lake.ensure(SMALL)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_ten, args=(replace(lake.storage), number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 2
    assert stands(lake) == sorted(number * 10 + step for number in range(2) for step in range(10))


def _append_ten(storage: Storage, number: int) -> None:
    lake = Lake(storage.root, storage)
    handle = lake.open(SMALL.name)
    for step in range(10):
        lake.append(handle, SMALL, numbers(number * 10 + step), {f"writer-{number}": step})


def test_replacing_a_day_leaves_the_others(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, pa.concat_tables([numbers(1, 2), numbers(3, day=TOMORROW)]))
    lake.replace_days(handle, SMALL, numbers(9), [TODAY], {"a": 1})
    assert stands(lake) == [3, 9]
    lake.replace_days(handle, SMALL, None, [TODAY])
    assert stands(lake) == [3]


def test_replacing_no_day_or_with_rows_of_another_is_refused(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1))
    with pytest.raises(ValueError, match="no days"):
        lake.replace_days(handle, SMALL, numbers(2), [])
    with pytest.raises(ValueError, match="2026-03-06"):
        lake.replace_days(handle, SMALL, numbers(2, day=TOMORROW), [TODAY])
    assert stands(lake) == [1]


def test_two_that_replace_the_same_day_do_not_both_win(lake: Lake) -> None:
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1))
    first, second = lake.open(SMALL.name), lake.open(SMALL.name)
    lake.replace_days(first, SMALL, numbers(2), [TODAY])
    with pytest.raises(CommitConflict):
        lake.replace_days(second, SMALL, numbers(3), [TODAY])
    assert stands(lake) == [2]


def test_the_log_knows_the_bounds_of_the_named_columns_and_no_byte_of_an_image(lake: Lake, place: Place) -> None:
    handle = lake.ensure(RAW_IMAGES)
    lake.append(handle, RAW_IMAGES, pa.concat_tables([records(0, 4, 5), records(2, 1), records(1, 8, day=TOMORROW)]))
    files = {row["partition.day"]: row for row in files_of(handle)}
    assert set(files) == {TODAY, TOMORROW}
    today = files[TODAY]
    assert (today["num_records"], today["min.offset"], today["max.offset"]) == (3, 1, 5)
    assert (today["min.partition"], today["max.partition"], today["null_count.offset"]) == (0, 2, 0)
    # Milliseconds, rounded outwards: another engine that skips by them must not skip too much.
    assert today["min.timestamp"] <= NOW <= today["max.timestamp"]
    commit = (place(RAW_IMAGES.name) / "_delta_log" / f"{1:020d}.json").read_text()
    stats = [json.loads(json.loads(line)["add"]["stats"]) for line in commit.splitlines() if '"add"' in line]
    assert all(set(stat["minValues"]) == set(RAW_IMAGES.statistics) for stat in stats)


def test_each_kafka_partition_has_row_groups_of_its_own(lake: Lake, place: Place) -> None:
    handle = lake.ensure(RAW_IMAGES)
    lake.append(handle, RAW_IMAGES, pa.concat_tables([records(0, 4, 5), records(2, 1), records(3, 8, 9, 10)]))
    (path,) = place(RAW_IMAGES.name).rglob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [2, 1, 3]


def test_a_row_group_stays_small_enough_to_be_read_in_bounded_memory(lake: Lake, place: Place) -> None:
    handle = lake.ensure(RAW_IMAGES)
    lake.append(handle, RAW_IMAGES, records(0, *range(20), payload=os.urandom(1_000_000)))
    (path,) = place(RAW_IMAGES.name).rglob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert max(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)) < 9_000_000


def test_polars_and_delta_rs_read_back_what_was_written(lake: Lake) -> None:
    handle = lake.ensure(RAW_IMAGES)
    written = pa.concat_tables([records(0, 4, 5), records(1, 8, day=TOMORROW)])
    lake.append(handle, RAW_IMAGES, written)
    frame = pl.read_delta(lake.open(RAW_IMAGES.name)).sort("partition", "offset")
    assert frame.to_dicts() == written.to_pylist()
    skipped = pl.scan_delta(lake.open(RAW_IMAGES.name)).filter(pl.col("offset") > 7).collect()
    assert skipped["offset"].to_list() == [8]


def test_gold_keeps_no_statistics_of_its_partition_column_for_other_engines_refuse_that(lake: Lake) -> None:
    handle = lake.ensure(DAILY_UPLOADS)
    named = handle.metadata().configuration["delta.dataSkippingStatsColumns"]
    assert "day" not in named.split(",")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 3 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a disk of its own needs root to mount a tmpfs; runs where the tests run as root")
    folder = Path(tempfile.mkdtemp(prefix="darkroom-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk_is_said_clearly_leaves_no_part_and_is_got_over(small_disk: Path) -> None:
    lake = Lake(str(small_disk / "lake"))
    handle = lake.ensure(RAW_IMAGES)
    before = lake.append(handle, RAW_IMAGES, records(0, 0), {"a": 0})
    with pytest.raises(LakeFull, match="disk is full") as caught:
        lake.append(handle, RAW_IMAGES, records(0, 1, payload=os.urandom(4_000_000)), {"a": 1})
    assert not is_permanent(caught.value)
    again = lake.open(RAW_IMAGES.name)
    assert (lake.identifier(again, "a"), again.version()) == (0, before)
    # The half-written file is gone: a lander that tries again and again must not fill the disk by itself.
    assert len(list(Path(lake.uri(RAW_IMAGES.name)).rglob("*.parquet"))) == 1
    lake.append(again, RAW_IMAGES, records(0, 1), {"a": 1})
    assert pl.read_delta(lake.uri(RAW_IMAGES.name)).height == 2


def test_a_disk_that_fills_in_the_second_day_of_a_batch_keeps_no_file_of_the_first(small_disk: Path) -> None:
    lake = Lake(str(small_disk / "lake"))
    handle = lake.ensure(RAW_IMAGES)
    both = pa.concat_tables([records(0, 0), records(0, 1, day=TOMORROW, payload=os.urandom(4_000_000))])
    with pytest.raises(LakeFull):
        lake.append(handle, RAW_IMAGES, both, {"a": 1})
    assert list(Path(lake.uri(RAW_IMAGES.name)).rglob("*.parquet")) == []


def test_a_disk_that_fills_between_data_and_commit_leaves_no_part_of_the_commit(small_disk: Path) -> None:
    lake = Lake(str(small_disk / "lake"))
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(0), {"a": 0})
    filler = small_disk / "filler"
    with pytest.raises(LakeFull):
        for step in range(1, 10_000):
            _fill(filler)
            lake.append(handle, SMALL, numbers(step), {"a": step})
            _free(filler, step)
    filler.unlink()
    again = lake.open(SMALL.name)
    last = lake.identifier(again, "a")
    assert last is not None
    assert stands(lake) == list(range(last + 1))
    lake.append(again, SMALL, numbers(last + 1), {"a": last + 1})
    assert stands(lake) == list(range(last + 2))


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def _free(path: Path, step: int) -> None:
    """Leave room that is sometimes enough for a data file and its commit, and sometimes for the file alone."""
    os.truncate(path, max(0, path.stat().st_size - 4096 * (step % 6)))
