"""`darkroom redevelop` on the running stack: a dry run by default, and what it did."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from cli.hostile import sound_png
from resources.lake import open_lake
from tests.live_stack import LiveStack
from transforms.tables import PROCESSED_IMAGES

pytestmark = pytest.mark.stack


def test_without_yes_it_says_what_it_would_do_and_with_it_the_day_is_developed_anew(stack: LiveStack, tmp_path) -> None:
    (tmp_path / "one.png").write_bytes(sound_png(31, 17))
    stack.run("send", str(tmp_path))
    lake = open_lake(stack.settings())
    day = datetime.now(UTC).date()
    handle = wait_for_rows(lake)
    before = pl.scan_delta(handle).select("id", "processed_at").collect()
    said = stack.run("redevelop", "--from", str(day), "--to", str(day)).stdout
    assert "the same with --yes" in said
    now = pl.scan_delta(lake.open(PROCESSED_IMAGES.name)).select("id", "processed_at").collect()
    assert now.join(before, on=["id", "processed_at"], how="semi").height == before.height, "a dry run"
    began = datetime.now(UTC).replace(microsecond=0)
    assert "Done" in stack.run("redevelop", "--from", str(day), "--to", str(day), "--yes").stdout
    rows = pl.scan_delta(lake.open(PROCESSED_IMAGES.name)).filter(pl.col("day") == day).collect()
    assert set(before["id"]) <= set(rows["id"])
    assert (rows["processed_at"] >= began).all()


def test_days_without_images_and_days_that_are_none_are_said(stack: LiveStack) -> None:
    said = stack.run("redevelop", "--from", "2001-01-01", "--to", "2001-01-02", "--yes").stdout
    assert "No image is of a day" in said
    wrong = stack.run("redevelop", "--from", "2001-01-02", "--to", "2001-01-01", check=False)
    assert wrong.returncode == 2
    assert "must not be after" in wrong.stderr


def wait_for_rows(lake):
    import time

    deadline = time.monotonic() + 120
    while True:
        if lake.exists(PROCESSED_IMAGES.name):
            handle = lake.open(PROCESSED_IMAGES.name)
            if pl.scan_delta(handle).select(pl.len()).collect().item():
                return handle
        assert time.monotonic() < deadline
        time.sleep(1)
