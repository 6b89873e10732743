"""The job that develops days anew, as Dagster runs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from platform_assets.definitions import defs
from platform_assets.images.backfill import BackfillConfig, checked_range
from resources.job_names import BACKFILL_JOB
from tests.platform_assets.conftest import House, png
from tests.resources.developing.bronze_rows import DAY
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES

NEXT = DAY + timedelta(days=1)


def backfill(house: House, not_before: str, **config: str) -> dg.ExecuteInProcessResult:
    chosen = {"first_day": str(DAY), "last_day": str(NEXT), "not_before": not_before, **config}
    return defs.resolve_job_def(BACKFILL_JOB).execute_in_process(
        instance=house.instance,
        resources=house.resources,
        run_config={"ops": {"days_to_redevelop": {"config": chosen}}},
        raise_on_error=False,
    )


def test_a_range_of_days_is_developed_and_measured_anew_a_step_a_day_and_the_live_lane_goes_on(house: House) -> None:
    for number in range(4):
        house.bronze.sealed(png(number))
    house.bronze.sealed(png(9), day=NEXT, row_day=NEXT)
    house.land()
    house.run()
    before = {spec.name: pl.read_delta(house.lake.uri(spec.name)).height for spec in (PROCESSED_IMAGES, IMAGE_FEATURES)}
    began = datetime.now(UTC)
    result = backfill(house, began.isoformat())
    assert result.success
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    days = [f"day_{day:%Y_%m_%d}" for day in (DAY, NEXT)]
    assert steps == {"days_to_redevelop", *(f"{op}[{day}]" for day in days for op in OPS)}
    told = [event.materialization for event in result.get_asset_materialization_events()]
    assert {one.metadata["day"].value: one.metadata["developed anew"].value for one in told} == {
        str(DAY): 4,
        str(NEXT): 1,
    }
    assert {one.metadata["computed on"].value for one in told} == {"local"}
    for spec, stamp in ((PROCESSED_IMAGES, "processed_at"), (IMAGE_FEATURES, "computed_at")):
        rows = pl.read_delta(house.lake.uri(spec.name))
        assert rows.height == before[spec.name]
        assert (rows[stamp] >= began).all()
    again = backfill(house, began.isoformat())
    told = [event.materialization for event in again.get_asset_materialization_events()]
    assert {one.metadata["developed anew"].value for one in told} == {0}, "the same instant goes on, and all was done"
    house.bronze.sealed(png(50))
    house.land()
    live = house.run()
    assert house.metadata(live, "processed_images")["new rows"] == 1


OPS = ("redevelop_one_day", "remeasure_one_day")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"first_day": "yesterday"}, "yesterday"),
        ({"last_day": "2026-03-04"}, "after the last"),
        ({"not_before": "2026-03-05T12:00:00"}, "no zone"),
        ({"not_before": "2999-03-05T12:00:00+00:00"}, "in the future"),
    ],
)
def test_a_range_that_is_none_is_refused_with_how_to_write_one(wrong: dict[str, str], said: str) -> None:
    given = {"first_day": str(DAY), "last_day": str(NEXT), "not_before": "2026-03-06T00:00:00+00:00", **wrong}
    with pytest.raises(dg.Failure, match=said) as caught:
        checked_range(BackfillConfig(**given))
    assert caught.value.allow_retries is False
    assert "Days are written" in str(caught.value.description)
