"""What gold and the checks say when two runs count at once, a record lies about its day, or a log is full of holes."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from platform_assets.images.checks import share_result
from platform_assets.images.daily_uploads import recompute
from resources.lake import CommitConflict, Lake
from tests.platform_assets.conftest import House, png
from tests.resources.developing.bronze_rows import DAY
from transforms.tables import DAILY_UPLOADS, PROCESSED_IMAGES

NOW = datetime(2026, 3, 5, 13, tzinfo=UTC)


def test_two_that_count_a_new_day_at_once_do_not_double_it(house: House, monkeypatch: pytest.MonkeyPatch):
    house.bronze.sealed(png(1))
    house.land()
    house.run()
    house.bronze.sealed(png(2), day=DAY + timedelta(days=1))
    house.land()
    real = Lake.replace_days

    def disturbed(lake: Lake, *arguments, **more) -> int:
        monkeypatch.setattr(Lake, "replace_days", real)
        assert recompute(lake, NOW)[0] == [DAY + timedelta(days=1)]
        return real(lake, *arguments, **more)

    # Developed, and not yet counted.
    with monkeypatch.context() as patch:
        patch.setattr("platform_assets.images.daily_uploads.recompute", lambda lake, now, destroyed: ([], 0))
        house.run()
    monkeypatch.setattr(Lake, "replace_days", disturbed)
    with pytest.raises(CommitConflict):
        recompute(house.lake, NOW)
    assert recompute(house.lake, NOW) == ([], 0)
    gold = pl.read_delta(house.lake.uri(DAILY_UPLOADS.name)).filter(pl.col("uploader_group") == "(all)")
    assert sorted(gold["day"]) == [DAY, DAY + timedelta(days=1)]


def test_a_day_that_was_destroyed_keeps_its_figures_while_its_rows_go(house: House):
    house.bronze.sealed(png(1))
    house.bronze.plain(None)
    house.land()
    house.run()
    before = pl.read_delta(house.lake.uri(DAILY_UPLOADS.name))
    house.bronze.keys.destroy_day(DAY, "a test")
    # As a purge does, one table after the other.
    house.lake.replace_days(house.lake.open(PROCESSED_IMAGES.name), PROCESSED_IMAGES, None, [DAY])
    house.bronze.plain(None, day=DAY + timedelta(days=1))
    house.land()
    house.run()
    gold = pl.read_delta(house.lake.uri(DAILY_UPLOADS.name))
    assert gold.filter(pl.col("day") == DAY).equals(before)
    assert DAY + timedelta(days=1) in gold["day"].to_list()


def test_one_record_of_tomorrow_does_not_hide_today_s_share_of_quarantine(house: House):
    for _ in range(20):
        house.bronze.plain(None)
    house.bronze.plain(png(1), day=DAY + timedelta(days=1))
    house.land()
    house.run()
    judged = share_result(house.lake)
    assert not judged.passed
    assert str(judged.metadata["day"].value) == str(DAY)


def test_a_loss_behind_more_holes_than_are_judged_at_once_is_found_by_the_next_comparison(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("resources.completeness.MOST_HOLES", 2)
    for number in range(4):
        house.bronze.plain(png(number))
        # A transaction's marker: neither broker nor bronze has a record there.
        house.bronze.offsets[0] += 1
    house.bronze.plain(png(9))
    house.land()
    lost = house.broker.records[0][0]
    house.broker.records[0][7] = lost
    first = house.checks(house.run())["raw_images.holds_what_the_broker_held"]
    assert first.passed
    second = house.checks(house.run(raise_on_error=False))["raw_images.holds_what_the_broker_held"]
    assert not second.passed
    assert "lacks offset 7" in str(second.metadata["problems"].value)
