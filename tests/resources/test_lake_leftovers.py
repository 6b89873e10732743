"""A commit that certainly does not stand leaves no file behind: on a full disk, each try would leave more."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from resources.lake import CommitConflict, Lake, LakeFull, LakeUnavailable
from transforms.tables import TableSpec

TODAY = date(2026, 3, 5)
SPEC = TableSpec(
    name="trial/small",
    description="A table for trials.",
    schema=pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("day", pa.date32(), nullable=False)]),
    statistics=("n",),
)
ROWS = pa.table({"n": [1, 2], "day": [TODAY, TODAY]}, schema=SPEC.schema)


def files(lake: Lake) -> list[str]:
    return sorted(path.name for path in Path(lake.uri(SPEC.name)).rglob("*.parquet"))


def test_the_files_of_a_refused_commit_are_gone(tmp_path: Path):
    lake = Lake(str(tmp_path))
    first, zombie = lake.ensure(SPEC), lake.open(SPEC.name)
    lake.append(first, SPEC, ROWS, {"app": 1})
    stand = files(lake)
    with pytest.raises(CommitConflict):
        lake.append(zombie, SPEC, ROWS, {"app": 1})
    assert files(lake) == stand
    assert pl.read_delta(lake.uri(SPEC.name)).height == 2


@pytest.mark.parametrize(
    ("said", "raised", "left"), [("os error 28", LakeFull, 0), ("connection reset by peer", LakeUnavailable, 1)]
)
def test_files_go_only_when_it_is_certain_that_no_commit_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, raised: type[Exception], left: int
):
    """A storage that breaks off may have taken the commit: then the files may be the table's."""
    lake = Lake(str(tmp_path))
    handle = lake.ensure(SPEC)

    def broken(*_arguments: object, **_more: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(type(handle), "create_write_transaction", broken)
    with pytest.raises(raised):
        lake.append(handle, SPEC, ROWS, {"app": 1})
    assert len(files(lake)) == left
