"""The live lane as Dagster runs it: what lands is developed, counted, checked, and shown without showing anybody."""

import dagster as dg
import polars as pl
import pytest

from platform_assets.definitions import defs
from resources.developing import DevelopResult
from resources.failures import TransientFailure
from resources.landing_losses import LandingStopped
from tests.platform_assets.conftest import House, png
from tests.resources.developing.bronze_rows import DAY, TOPIC, TOPIC_ID
from transforms.landing_protocol import Loss, LossKind
from transforms.tables import (
    DAILY_UPLOADS,
    LABEL_CORRECTIONS,
    LABEL_TRUST,
    PROCESSED_IMAGES,
    QUARANTINED_IMAGES,
    RAW_IMAGES,
    RECOGNISED_IMAGES,
    RECOGNISED_STREAM,
    TRAINING_SET,
)

NOTHING = DevelopResult(0, 0, {}, 0, {}, {}, 0)
SECRETS = {"uploader": "grace-hopper", "label": "a-label-of-hers", "group": "photo-club"}


def fill(house: House, images: int = 3) -> list[str]:
    """Some good images, a resend, and two bad records; returns the ids."""
    given = {"uploader": SECRETS["uploader"], "label": SECRETS["label"], "groups": (SECRETS["group"],)}
    ids = [house.bronze.sealed(png(number), **given, partition=number % 2) for number in range(images)]
    house.bronze.sealed(png(0), **given)
    house.bronze.sealed(b"<html>no image</html>", **given)
    house.bronze.plain(None, partition=1)
    house.land()
    return ids


def rows(house: House, spec) -> pl.DataFrame:
    return pl.read_delta(house.lake.uri(spec.name))


def test_images_go_from_bronze_to_developed_and_counted(house: House):
    ids = fill(house)
    result = house.run()
    assert result.success
    assert set(rows(house, PROCESSED_IMAGES)["id"]) == set(ids)
    assert sorted(rows(house, QUARANTINED_IMAGES)["reason"]) == ["not_an_image", "tombstone"]
    (total,) = rows(house, DAILY_UPLOADS).filter(pl.col("uploader_group") == "(all)").iter_rows(named=True)
    assert (total["day"], total["processed"], total["quarantined"]) == (DAY, 3, 2)
    assert {row.state for row in house.board} == {"processed", "quarantined"}
    assert {name: check.passed for name, check in house.checks(result).items()} == dict.fromkeys(
        [
            "raw_images.holds_what_the_broker_held",
            "raw_images.schema_as_specified",
            "processed_images.one_row_per_image",
            "processed_images.developed_up_to_bronze",
            "processed_images.schema_as_specified",
            "image_features.schema_as_specified",
            "image_features.one_row_per_image",
            "quarantined_images.quarantine_share",
            "quarantined_images.schema_as_specified",
            "daily_uploads.schema_as_specified",
        ],
        True,
    )


def test_materializations_carry_what_a_person_would_look_at(house: House):
    fill(house)
    result = house.run()
    raw = house.metadata(result, "raw_images")
    assert raw["dagster/row_count"] == 6
    assert "| 0 | 0 | nothing new | 4 |" in raw["offsets"]
    developed = house.metadata(result, "processed_images")
    assert (developed["new rows"], developed["records read"], developed["resends"]) == (3, 6, 1)
    assert "decode" in developed["seconds by part"]
    assert developed["dagster/uri"].endswith("images/processed_images")
    assert developed["delta version"] >= 1
    quarantined = house.metadata(result, "quarantined_images")
    assert "not_an_image | 1 | The bytes are no image" in quarantined["reasons"]
    assert quarantined["reasons at a glance"].startswith(
        "![in quarantine by reason, all days](data:image/svg+xml;base64,"
    )
    daily = house.metadata(result, "daily_uploads")
    assert f"| {DAY} | 3 | 2 |" in daily["days"]


def test_running_again_with_nothing_new_materializes_zero_rows(house: House):
    fill(house)
    house.run()
    again = house.run()
    assert again.success
    assert house.metadata(again, "processed_images")["new rows"] == 0
    assert house.metadata(again, "quarantined_images")["new rows"] == 0
    assert house.metadata(again, "daily_uploads")["days recomputed"] == 0
    assert rows(house, PROCESSED_IMAGES).height == 3


def test_an_empty_lake_is_materialized_too(house: House):
    """Somebody presses the button before the first image: every table is made, and empty."""
    house.broker.low, house.broker.high = {0: 0}, {0: 0}
    house.lake.ensure(RAW_IMAGES)
    assert house.run().success
    assert rows(house, DAILY_UPLOADS).height == 0


def test_no_person_and_no_image_enters_the_event_log(house: House):
    """The event log lives for ever; what is in it no key can erase."""
    ids = fill(house)
    result = house.run()
    house.run()
    secrets = [*SECRETS.values(), "a name.png", *ids, rows(house, PROCESSED_IMAGES)["pseudonym"][0]]
    events = [str(entry) + entry.to_json() for entry in house.instance.all_logs(result.run_id)]
    assert len(events) > 40
    found = {secret for secret in secrets for event in events if secret in event}
    assert found == set()


def test_a_loss_stops_the_run_and_shows_range_and_command(house: House):
    fill(house)
    loss = Loss(LossKind.DELETED, TOPIC, 1, 5, 9, TOPIC_ID, TOPIC_ID)
    house.landing_failure = LandingStopped(TOPIC, [loss])
    result = house.run(raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure and event.step_key == "raw_images"]
    data = failure.step_failure_data.user_failure_data
    assert "offsets 5 to 9 were deleted" in data.description
    assert "darkroom accept-loss" in data.description
    metadata = {name: value.value for name, value in data.metadata.items()}
    assert metadata["failure"] == "LandingStopped"
    assert (metadata["partition"], metadata["first_offset"], metadata["last_offset"]) == (1, 5, 9)
    assert not [event for event in result.all_events if event.is_step_up_for_retry], "a loss is not tried again"
    run = house.instance.get_run_by_id(result.run_id)
    assert run.tags["dagster/max_retries"] == "0"


def test_a_failure_that_passes_is_tried_again(house: House):
    fill(house)
    house.landing_failure = TransientFailure("the broker restarts", {"bootstrap": "127.0.0.1:1"})
    result = house.run(raise_on_error=False)
    assert not result.success
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 2


def test_a_record_that_bronze_lacks_stops_developing_and_is_not_forgotten(house: House):
    """The landing after the one that lost a record has nothing new: the check must still fail."""
    house.bronze.sealed(png(1))
    lost = house.bronze.sealed(png(2))
    house.bronze.sealed(png(3))
    house.broker.take(house.bronze.rows)
    house.bronze.rows = [row for row in house.bronze.rows if row["offset"] != 1]
    house.bronze.land()
    for _ in range(2):
        result = house.run(raise_on_error=False)
        assert not result.success
        check = house.checks(result)["raw_images.holds_what_the_broker_held"]
        assert not check.passed and check.blocking
        assert "bronze lacks offset 1" in (check.description or "")
        assert not house.lake.exists(PROCESSED_IMAGES.name), f"developing ran, with {lost} missing"


def test_a_hole_in_the_brokers_log_is_legal(house: House):
    house.bronze.sealed(png(1))
    house.bronze.offsets[0] += 2
    house.bronze.sealed(png(2))
    house.land()
    result = house.run()
    check = house.checks(result)["raw_images.holds_what_the_broker_held"]
    assert check.passed
    assert check.metadata["legal holes"].value == 1


def test_a_row_that_differs_from_the_brokers_record_is_found(house: House):
    house.bronze.sealed(png(1))
    house.broker.take(house.bronze.rows)
    house.broker.records[0][0].value_ = b"something else"
    house.bronze.land()
    result = house.run(raise_on_error=False)
    check = house.checks(result)["raw_images.holds_what_the_broker_held"]
    assert "offset 0 differs from the broker in value" in (check.description or "")


def test_what_was_verified_once_is_not_read_from_the_broker_again(house: House):
    fill(house)
    house.run()
    reads = house.broker.reads
    assert reads > 0
    assert house.checks(house.run())["raw_images.holds_what_the_broker_held"].passed
    assert house.broker.reads == reads


def test_an_offset_that_stands_twice_is_found(house: House):
    fill(house)
    house.run()
    handle = house.lake.open(RAW_IMAGES.name)
    twice = pl.read_delta(handle).head(1).to_arrow().cast(RAW_IMAGES.schema)
    house.lake.append(handle, RAW_IMAGES, twice)
    result = house.run(raise_on_error=False)
    assert "stand twice" in (house.checks(result)["raw_images.holds_what_the_broker_held"].description or "")


def test_a_doubled_image_turns_the_check_red(house: House):
    fill(house)
    house.run()
    handle = house.lake.open(PROCESSED_IMAGES.name)
    house.lake.append(handle, PROCESSED_IMAGES, pl.read_delta(handle).head(1).to_arrow().cast(PROCESSED_IMAGES.schema))
    check = house.checks(house.run())["processed_images.one_row_per_image"]
    assert not check.passed
    assert check.metadata["rows too many"].value == 1


def test_a_table_that_lags_behind_bronze_turns_the_check_red(house: House, monkeypatch: pytest.MonkeyPatch):
    fill(house)
    house.run()
    monkeypatch.setattr("resources.developing.Developer.develop", lambda self, progress=None: NOTHING)
    house.bronze.sealed(png(99), partition=1)
    house.land()
    check = house.checks(house.run())["processed_images.developed_up_to_bronze"]
    assert not check.passed
    assert "processed_images | develop-images.raw-1" in check.metadata["behind"].value


@pytest.mark.parametrize(
    ("good", "bad", "passed", "severity"),
    [
        (19, 1, True, dg.AssetCheckSeverity.WARN),
        (16, 4, False, dg.AssetCheckSeverity.WARN),
        (5, 15, False, dg.AssetCheckSeverity.ERROR),
        (0, 3, True, dg.AssetCheckSeverity.ERROR),
    ],
    ids=["one in twenty", "one in five", "three in four", "too few to tell"],
)
def test_the_share_of_quarantine_warns_and_then_fails(house: House, good: int, bad: int, passed: bool, severity):
    for number in range(good):
        house.bronze.sealed(png(number))
    for _ in range(bad):
        house.bronze.plain(None)
    house.land()
    check = house.checks(house.run())["quarantined_images.quarantine_share"]
    assert (check.passed, check.severity) == (passed, severity)


def test_each_check_can_be_run_alone(house: House):
    fill(house)
    house.run()
    for spec in (TRAINING_SET, LABEL_TRUST, RECOGNISED_IMAGES, LABEL_CORRECTIONS, RECOGNISED_STREAM):
        house.lake.ensure(spec)
    repository = defs.get_repository_def()
    # Those of the access rights and of the shop ask PostgreSQL, which this house has not: test_access_policy.py,
    # test_shop.py.
    asking = ("access", "shop")
    keys = [key for key in repository.asset_graph.asset_check_keys if key.asset_key.path[0] not in asking]
    for key in sorted(keys):
        selection = dg.AssetSelection.checks(key)
        job = dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=[dg.define_asset_job("alone", selection=selection)],
            resources=house.resources,
        ).resolve_job_def("alone")
        result = job.execute_in_process(instance=house.instance)
        assert [one.check_name for one in result.get_asset_check_evaluations()] == [key.name]


def test_gold_counts_again_only_the_days_that_changed(house: House):
    fill(house)
    house.run()
    house.bronze.sealed(png(77))
    house.land()
    result = house.run()
    assert house.metadata(result, "daily_uploads")["days recomputed"] == 1
    (total,) = rows(house, DAILY_UPLOADS).filter(pl.col("uploader_group") == "(all)").iter_rows(named=True)
    assert total["processed"] == 4
