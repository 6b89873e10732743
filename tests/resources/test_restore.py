"""Back to an earlier version: only where identifiers do not speak of an input, and never by default."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from resources.lake import LakeUnavailable, TableMissing, open_lake
from resources.lake_tables import TableUnknown
from resources.restore import RestoreRefused, restore_table, versions_of
from resources.settings import Settings
from transforms.tables import DAILY_UPLOADS, TABLES

GOLD = DAILY_UPLOADS.name
DAY = date(2026, 3, 5)


def figures(processed: int) -> pa.Table:
    row = {
        "day": DAY,
        "uploader_group": "(all)",
        "processed": processed,
        "quarantined": 0,
        "bytes": 1,
        "near_duplicates": 0,
        "reasons": [],
        "latency_p50_seconds": None,
        "latency_p99_seconds": None,
        "computed_at": datetime(2026, 3, 5, tzinfo=UTC),
    }
    return pa.Table.from_pylist([row], schema=DAILY_UPLOADS.schema)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    lake = open_lake(settings)
    for processed in (1, 2):
        handle = lake.ensure(DAILY_UPLOADS)
        lake.replace_days(handle, DAILY_UPLOADS, figures(processed), [DAY], info={"darkroom": f"counted {processed}"})
    return settings


def processed(settings: Settings) -> list[int]:
    import polars as pl

    return pl.read_delta(open_lake(settings).uri(GOLD))["processed"].to_list()


def test_gold_goes_back_to_a_version_when_a_person_says_so(settings: Settings):
    newest, before, *_ = versions_of(settings, GOLD, 10)
    shown = restore_table(settings, GOLD, before.version)
    assert (shown.before, shown.rows_before, shown.rows_then, shown.after) == (newest.version, 1, 1, None)
    assert processed(settings) == [2]
    assert restore_table(settings, GOLD, before.version, dry_run=False).after == newest.version + 1
    assert processed(settings) == [1]


def test_the_versions_are_listed_with_what_was_said_of_them(settings: Settings):
    newest, before, *_ = versions_of(settings, GOLD, 10)
    assert (newest.version - before.version, newest.said, before.said) == (1, "counted 2", "counted 1")
    assert newest.when.tzinfo is UTC


def test_a_version_that_is_not_there_is_refused(settings: Settings):
    with pytest.raises(RestoreRefused, match="no version 9"):
        restore_table(settings, GOLD, 9, dry_run=False)
    assert processed(settings) == [2]


@pytest.mark.parametrize("asked", ["load_as_version", "history"])
def test_storage_that_is_away_is_not_a_version_that_is_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, asked: str
):
    def away(self: DeltaTable, *given: object) -> None:
        raise DeltaError("Generic S3 error: error sending request")

    with monkeypatch.context() as patch, pytest.raises(LakeUnavailable, match=r"table images/daily_uploads, got"):
        patch.setattr(DeltaTable, asked, away)
        restore_table(settings, GOLD, 1, dry_run=False)
    assert processed(settings) == [2]


@pytest.mark.parametrize("spec", [spec for spec in TABLES if spec is not DAILY_UPLOADS], ids=lambda spec: spec.name)
def test_a_table_whose_identifiers_say_how_far_its_input_was_taken_in_is_refused(settings: Settings, spec):
    with pytest.raises(RestoreRefused, match="not identifiers"):
        restore_table(settings, spec.name, 0, dry_run=False)


def test_an_unknown_table_is_refused_with_the_known_ones_and_one_never_written_is_missing(tmp_path: Path):
    with pytest.raises(TableUnknown, match="images/raw_images, images/processed_images"):
        versions_of(Settings(home=tmp_path), "images/nothing", 5)
    with pytest.raises(TableMissing):
        restore_table(Settings(home=tmp_path), GOLD, 0)
