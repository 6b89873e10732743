"""A table whose data files cannot be read: whoever asks it something is told which table, and of which lake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from resources.derived_tables import places_among
from resources.lake import Lake, LakeUnavailable
from resources.tracked_table import TrackedTable
from resources.waiting import records_behind
from tests.resources.test_lake import records
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES

AT = Position("images.raw", 0, "AAAAAAAAQACAAAAAAAAAAA")


def counted(lake: Lake) -> None:
    records_behind(lake, lake.open(RAW_IMAGES.name), {AT: 0})


def looked_up(lake: Lake) -> None:
    places_among(TrackedTable(lake, RAW_IMAGES, lambda at: at.app_id), [(AT.topic_id, 0, 1)])


def streamed(lake: Lake) -> None:
    lake.collect(pl.scan_delta(lake.open(RAW_IMAGES.name)).select("payload"), RAW_IMAGES.name, streaming=True)


def gone(file: Path) -> None:
    file.unlink()


def of_other_bytes(file: Path) -> None:
    file.write_bytes(b"x" * file.stat().st_size)


@pytest.mark.parametrize("damage", [gone, of_other_bytes])
@pytest.mark.parametrize("ask", [counted, looked_up, streamed])
def test_an_unreadable_data_file_is_named_with_its_table_and_lake(
    tmp_path: Path, ask: Callable[[Lake], None], damage: Callable[[Path], None]
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, records(0, *range(10)))
    ask(lake)
    (file,) = (tmp_path / "lake").rglob("*.parquet")
    damage(file)
    with pytest.raises(LakeUnavailable, match=rf"{lake.root} .*tried to read table images/raw_images, got ") as caught:
        ask(lake)
    assert caught.value.__cause__ is not None


def test_an_error_of_the_query_itself_stays_what_it_is(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    frame = pl.scan_delta(lake.ensure(RAW_IMAGES)).select("no_such_column")
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        lake.collect(frame, RAW_IMAGES.name)
