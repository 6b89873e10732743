"""Rows that leave a derived table: what its storage answers has our names, and the commit is no more than a commit."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from resources.lake import CommitConflict, Lake, LakeFull, LakeUnavailable
from resources.lake_commits import CHECKPOINT_EVERY
from resources.tracked_table import TrackedTable
from tests.resources.test_lake import TODAY, records
from transforms.tables import RAW_IMAGES


@pytest.fixture
def table(tmp_path: Path) -> TrackedTable:
    """A table of as many rows as there are commits between two checkpoints, and some more, in one file."""
    lake = Lake(str(tmp_path / "lake"))
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, records(0, *range(CHECKPOINT_EVERY + 5)))
    return TrackedTable(lake, RAW_IMAGES, lambda at: at.app_id)


def test_rows_are_removed_and_no_hook_writes_a_checkpoint_which_could_fail_a_commit_that_stands(
    table: TrackedTable, tmp_path: Path
) -> None:
    for offset in range(CHECKPOINT_EVERY + 4):
        table.delete(f"offset = {offset}")
    assert table.commits == CHECKPOINT_EVERY + 4
    assert pl.scan_delta(table.handle).select("offset", "day").collect().rows() == [(CHECKPOINT_EVERY + 4, TODAY)]
    assert list((tmp_path / "lake" / RAW_IMAGES.name / "_delta_log").glob("*.checkpoint*")) == []


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (CommitFailedError("a concurrent transaction deleted data"), CommitConflict),
        (DeltaError("Generic S3 error: error sending request"), LakeUnavailable),
        (OSError(28, "No space left on device"), LakeFull),
    ],
)
def test_a_removal_that_fails_has_one_of_our_names(
    table: TrackedTable, monkeypatch: pytest.MonkeyPatch, error: Exception, named: type[Exception]
) -> None:
    def fails(self: DeltaTable, *given: object, **also: object) -> None:
        raise error

    monkeypatch.setattr(DeltaTable, "delete", fails)
    with pytest.raises(named, match=RAW_IMAGES.name):
        table.delete("offset = 0")
    assert table.commits == 0
