"""What a table holds now, and held then; read from its log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from resources.lake import Lake, LakeUnavailable, TableMissing
from resources.lake_tables import TableUnknown, held_at, known_table, tables_held
from tests.resources.test_lake import TODAY, TOMORROW, records
from transforms.tables import RAW_IMAGES, TABLES


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake whose bronze has three versions with rows, the last of another day."""
    lake = Lake(str(tmp_path / "lake"))
    handle = lake.ensure(RAW_IMAGES)
    lake.append(handle, RAW_IMAGES, records(0, 0, 1))
    lake.append(handle, RAW_IMAGES, records(1, 0))
    lake.append(handle, RAW_IMAGES, records(0, 2, day=TOMORROW))
    return lake


def test_every_table_is_listed_and_those_that_are_there_say_what_they_hold(lake: Lake) -> None:
    found = {spec.name: held for spec, held in tables_held(lake)}
    assert set(found) == {spec.name for spec in TABLES}
    bronze = found.pop(RAW_IMAGES.name)
    assert set(found.values()) == {None}
    assert bronze is not None
    assert (bronze.rows, bronze.files, bronze.days) == (4, 3, {TODAY: 3, TOMORROW: 1})
    assert bronze.bytes == sum(path.stat().st_size for path in Path(lake.uri(RAW_IMAGES.name)).rglob("*.parquet"))


def test_an_earlier_version_is_found_by_number_and_by_instant(lake: Lake) -> None:
    newest = lake.open(RAW_IMAGES.name).version()
    before = held_at(lake, RAW_IMAGES, newest - 1)
    assert (before.version, before.rows, before.days) == (newest - 1, 3, {TODAY: 3})
    assert before.columns == tuple(RAW_IMAGES.schema.names)
    assert held_at(lake, RAW_IMAGES, datetime.now(UTC) + timedelta(seconds=1)).version == newest


def test_what_is_not_there_is_said_with_what_is(lake: Lake) -> None:
    with pytest.raises(TableUnknown, match=r"no version 99; it stands at \d.*lake history images/raw_images"):
        held_at(lake, RAW_IMAGES, 99)
    with pytest.raises(TableUnknown, match="no version at 1999-01-01 00:00:00 UTC; it stands at"):
        held_at(lake, RAW_IMAGES, datetime(1999, 1, 1, tzinfo=UTC))
    with pytest.raises(TableUnknown, match="Valid ones: images/raw_images"):
        known_table("raw_images")
    with pytest.raises(TableMissing):
        held_at(lake, known_table("images/processed_images"), 0)


@pytest.mark.parametrize("asked", ["load_as_version", "history"])
def test_storage_that_is_away_is_not_a_version_that_is_not_there(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    def away(self: DeltaTable, *given: object) -> None:
        raise DeltaError("Generic S3 error: error sending request")

    monkeypatch.setattr(DeltaTable, asked, away)
    with pytest.raises(LakeUnavailable, match=r"table images/raw_images, got Generic S3 error"):
        held_at(lake, RAW_IMAGES, 1)
