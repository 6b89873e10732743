"""Columns and conditions: a table gets what a newer release knows, in its log alone, and nothing is taken from it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from resources.bronze import read_since
from resources.data_files import read_file
from resources.failures import is_permanent
from resources.lake import CommitConflict, Lake, SchemaRefused
from resources.lake_log import files_of
from resources.upkeep import maintain
from tests.resources.test_lake import SMALL, numbers, records
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES, TableSpec

WIDER = replace(SMALL, schema=pa.schema([*SMALL.schema, pa.field("m", pa.string())]))
CHECKED = replace(WIDER, checks={"small": "n < 100"})


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake, in a folder and on a real S3 server."""
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    return request.getfixturevalue("s3_server").lake()


def test_a_new_column_that_may_be_null_comes_without_a_file_written_anew(lake: Lake) -> None:
    before = lake.ensure(SMALL)
    lake.append(before, SMALL, numbers(1, 2), {"a": 1})
    paths = [file["path"] for file in files_of(before)]
    after = lake.ensure(WIDER)
    assert [file["path"] for file in files_of(after)] == paths
    rows = numbers(3).append_column("m", pa.array(["new"]))
    with pytest.raises(CommitConflict):
        lake.append(before, SMALL, numbers(9), {"a": 2})
    lake.append(after, WIDER, rows, {"a": 2})
    read = pl.scan_delta(lake.open(SMALL.name)).select("n", "m").collect().sort("n")
    assert read.rows() == [(1, None), (2, None), (3, "new")]
    singly = [read_file(lake, WIDER, file) for file in files_of(lake.open(SMALL.name))]
    assert pl.concat(singly).select("n", "m").sort("n").rows() == read.rows()
    assert maintain(lake, WIDER, keep_hours=0) is not None
    assert pl.scan_delta(lake.open(SMALL.name)).select("n", "m").collect().sort("n").rows() == read.rows()
    assert lake.ensure(WIDER).version() == lake.open(SMALL.name).version(), "a second time there is nothing to do"


@pytest.mark.parametrize(
    ("narrow", "said"),
    [
        (SMALL, "Only in the table: m"),
        (replace(WIDER, schema=pa.schema([*SMALL.schema, pa.field("m", pa.int32())])), "Only in this release: m"),
        (replace(WIDER, schema=pa.schema([*SMALL.schema, pa.field("m", pa.string(), nullable=False)])), "not null"),
    ],
    ids=["a column less", "another type", "a null less"],
)
def test_what_would_narrow_a_table_is_refused(lake: Lake, narrow: TableSpec, said: str) -> None:
    version = lake.ensure(WIDER).version()
    with pytest.raises(SchemaRefused, match=said):
        lake.ensure(narrow)
    assert lake.open(SMALL.name).version() == version


def test_two_that_widen_a_table_at_once_both_have_it(lake: Lake) -> None:
    lake.ensure(SMALL)
    with ThreadPoolExecutor(4) as threads:
        versions = {handle.version() for handle in threads.map(lake.ensure, [CHECKED] * 4)}
    kept = lake.open(SMALL.name)
    assert [field.name for field in kept.schema().fields] == CHECKED.schema.names
    assert kept.metadata().configuration["delta.constraints.small"] == "n < 100"
    assert max(versions) == kept.version()


def test_rows_that_break_a_condition_are_refused_by_name_and_nothing_is_written(lake: Lake) -> None:
    handle = lake.ensure(CHECKED)
    version = handle.version()
    with pytest.raises(SchemaRefused, match=r"rows break small \(n < 100\)") as caught:
        lake.append(handle, CHECKED, numbers(1, 100).append_column("m", pa.array(["x", "y"])), {"a": 1})
    assert is_permanent(caught.value)
    assert handle.version() == version
    lake.append(handle, CHECKED, numbers(1, 99).append_column("m", pa.array(["x", "y"])), {"a": 1})


def test_a_condition_that_rows_break_already_is_not_put_on_their_table(lake: Lake) -> None:
    lake.append(lake.ensure(SMALL), SMALL, numbers(100), {"a": 1})
    with pytest.raises(SchemaRefused, match="small"):
        lake.ensure(replace(CHECKED, schema=SMALL.schema))


def test_bronze_of_before_a_new_column_is_read_with_nulls(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, records(0, 0, 1), {"a": 1})
    wider = replace(RAW_IMAGES, schema=RAW_IMAGES.schema.append(pa.field("region", pa.string())))
    handle = lake.ensure(wider)
    lake.append(handle, wider, records(0, 2).append_column("region", pa.array(["north"])), {"a": 2})
    at = Position("images.raw", 0, "AAAAAAAAQACAAAAAAAAAAA")
    read = pa.Table.from_batches(read_since(lake, {at: -1}, 1 << 20, spec=wider))
    assert read.schema.names == wider.schema.names
    assert read["region"].to_pylist() == [None, None, "north"]
    assert read["offset"].to_pylist() == [0, 1, 2]
    older = pa.Table.from_batches(read_since(lake, {at: -1}, 1 << 20))
    assert older.schema.equals(RAW_IMAGES.schema)
