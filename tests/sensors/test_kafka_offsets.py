"""A tick of the Kafka sensor: real Delta tables, a real Dagster instance; only the broker's answer is handed in."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from resources.dagster_resources import KafkaResource, LakeResource, SettingsResource
from resources.job_names import LIVE_JOB
from resources.kafka_errors import KafkaUnavailable
from resources.lake import Lake, open_lake
from resources.progress import develop_app_id
from resources.settings import Settings
from sensors.kafka_offsets import SILENT_SECONDS, STREAM, kafka_offsets
from sensors.offset_cursor import OffsetCursor
from transforms.landing_protocol import TopicState, partition_app_id
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

TOPIC_ID = "A" * 22
STATE = TopicState("images.raw", TOPIC_ID, {0: (0, 10), 1: (0, 4)})


class Broker(KafkaResource):
    """What the broker answers: watermarks, or nothing in time."""

    partitions: dict[str, list[int]] = {}  # noqa: RUF012 (a pydantic field)

    def watermarks(self, timeout_seconds: float | None = None) -> TopicState:
        assert timeout_seconds is not None and timeout_seconds <= 5, "a tick has a time budget"
        if not self.partitions:
            raise KafkaUnavailable("Kafka at nowhere:1 gave no answer within 3 s.\nSecond line.")
        return TopicState("images.raw", TOPIC_ID, {int(p): (low, high) for p, (low, high) in self.partitions.items()})


@dg.op
def work() -> None: ...


@dg.op
def broken() -> None:
    raise RuntimeError("the first line\nthe second")


@dg.job(name=LIVE_JOB)
def good_job() -> None:
    work()


@dg.job(name=LIVE_JOB)
def bad_job() -> None:
    broken()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(Settings(home=tmp_path))


def commit(lake: Lake, landed: dict[int, int], developed: dict[int, int]) -> None:
    """Move the identifiers of the three tables."""
    handle = lake.ensure(RAW_IMAGES)
    lake.append(handle, RAW_IMAGES, None, {partition_app_id("images.raw", p, TOPIC_ID): o for p, o in landed.items()})
    for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES):
        handle = lake.ensure(spec)
        names = {develop_app_id("images.raw", p, TOPIC_ID): o for p, o in developed.items()}
        lake.append(handle, spec, None, names)


def tick(
    home: Path, instance: dg.DagsterInstance, partitions: dict[str, list[int]] | None = None, cursor: str | None = None
) -> dg.SensorResult:
    """One evaluation of the sensor."""
    settings = SettingsResource(overrides={"home": str(home)})
    answer = {"0": [0, 10], "1": [0, 4]} if partitions is None else partitions
    return evaluate(instance, Broker(settings=settings, partitions=answer), LakeResource(settings=settings), cursor)


def evaluate(
    instance: dg.DagsterInstance, kafka: KafkaResource, lake: LakeResource, cursor: str | None = None
) -> dg.SensorResult:
    resources = {"kafka": kafka, "lake": lake}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        result = kafka_offsets(context)
    assert isinstance(result, dg.SensorResult)
    return result


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_new_records_ask_for_one_run_that_is_told_no_offset(tmp_path: Path, instance: dg.DagsterInstance):
    result = tick(tmp_path, instance)
    (request,) = result.run_requests
    assert request.run_config == {}
    assert request.run_key
    assert "14 offsets to land" in request.tags["darkroom/why"]


def test_a_settled_lake_asks_for_nothing(tmp_path: Path, instance: dg.DagsterInstance, lake: Lake):
    commit(lake, {0: 9, 1: 3}, {0: 9, 1: 3})
    assert "nothing new" in reason(tick(tmp_path, instance))


def test_what_landed_and_was_not_developed_asks_for_a_run(tmp_path: Path, instance: dg.DagsterInstance, lake: Lake):
    commit(lake, {0: 9, 1: 3}, {0: 9, 1: 1})
    (request,) = tick(tmp_path, instance).run_requests
    assert request.tags["darkroom/why"] == "0 offsets to land, 2 to develop"


def test_a_broker_that_is_away_is_a_skipped_tick_with_a_sentence(tmp_path: Path, instance: dg.DagsterInstance):
    before = OffsetCursor(failures=3, retry_at=5.0).dumps()
    result = tick(tmp_path, instance, partitions={}, cursor=before)
    assert reason(result) == "KafkaUnavailable: Kafka at nowhere:1 gave no answer within 3 s."
    assert OffsetCursor.loads(result.cursor) == OffsetCursor.loads(before)


def test_a_lake_that_cannot_be_read_is_a_skipped_tick_with_a_sentence(tmp_path: Path, instance: dg.DagsterInstance):
    log = tmp_path / "lake" / RAW_IMAGES.name / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no log\n")
    assert "LakeUnavailable" in reason(tick(tmp_path, instance))


def test_a_bug_is_no_skipped_tick(tmp_path: Path, instance: dg.DagsterInstance):
    """Only failures that are known pass as a sentence; anything else shows as a failed tick."""
    settings = SettingsResource(overrides={"home": str(tmp_path)})
    with pytest.raises(ValueError, match="not 22 characters"):
        evaluate(instance, _Odd(settings=settings), LakeResource(settings=settings))


class _Odd(KafkaResource):
    def watermarks(self, timeout_seconds: float | None = None) -> TopicState:
        return TopicState("images.raw", "odd", {0: (0, 1)})


def test_a_run_in_flight_is_waited_for(tmp_path: Path, instance: dg.DagsterInstance):
    instance.create_run_for_job(good_job, status=dg.DagsterRunStatus.STARTED)
    assert "in flight" in reason(tick(tmp_path, instance))


def test_a_run_of_another_job_is_not_waited_for(tmp_path: Path, instance: dg.DagsterInstance):
    @dg.job(name="another_job")
    def another_job() -> None:
        work()

    instance.create_run_for_job(another_job, status=dg.DagsterRunStatus.STARTED)
    assert tick(tmp_path, instance).run_requests


def test_a_failed_run_is_asked_for_again_after_the_back_off(tmp_path: Path, instance: dg.DagsterInstance):
    first = tick(tmp_path, instance)
    assert not bad_job.execute_in_process(instance=instance, raise_on_error=False).success
    skipped = tick(tmp_path, instance, cursor=first.cursor)
    assert "failed (1 in a row); asked for again in" in reason(skipped)
    kept = OffsetCursor.loads(skipped.cursor)
    over = OffsetCursor(
        kept.topic_id, kept.watermarks, kept.observed_at, kept.failures, kept.judged, kept.stuck_at, retry_at=1.0
    )
    again = tick(tmp_path, instance, cursor=over.dumps())
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_after_a_success_the_same_backlog_has_the_same_key(tmp_path: Path, instance: dg.DagsterInstance):
    """A log that ends in transaction markers can never be landed to its end; one run finds that out, not thousands."""
    first = tick(tmp_path, instance)
    assert good_job.execute_in_process(instance=instance).success
    again = tick(tmp_path, instance, cursor=first.cursor)
    assert again.run_requests[0].run_key == first.run_requests[0].run_key


def test_moved_watermarks_are_observed_on_the_stream(tmp_path: Path, instance: dg.DagsterInstance, lake: Lake):
    commit(lake, {0: 9, 1: 3}, {0: 9, 1: 3})
    first = tick(tmp_path, instance)
    (event,) = first.asset_events
    assert event.asset_key == STREAM
    assert event.metadata["records produced"].value == 14
    assert event.metadata["offsets to land"].value == 0
    assert tick(tmp_path, instance, cursor=first.cursor).asset_events == []


def test_any_old_cursor_makes_a_tick(tmp_path: Path, instance: dg.DagsterInstance):
    for cursor in ('{"0": 3}', "rubbish", "[1]", '{"version": 99, "watermarks": 5}'):
        assert tick(tmp_path, instance, cursor=cursor).run_requests


def test_the_clock_of_a_cursor_is_in_seconds_since_1970(tmp_path: Path, instance: dg.DagsterInstance):
    kept = OffsetCursor.loads(tick(tmp_path, instance).cursor)
    assert abs(kept.observed_at - datetime.now(UTC).timestamp()) < 60


class _Hanging(Broker):
    """A broker that answers only when it is let go."""

    def watermarks(self, timeout_seconds: float | None = None) -> TopicState:
        assert LET_GO.wait(30)
        return super().watermarks(timeout_seconds)


LET_GO = threading.Event()


def test_what_does_not_answer_costs_a_tick_its_budget_and_no_more(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sensors.kafka_offsets.TICK_SECONDS", 0.2)
    LET_GO.clear()
    settings = SettingsResource(overrides={"home": str(tmp_path)})
    hanging = _Hanging(settings=settings, partitions={"0": [0, 10]})
    try:
        first = evaluate(instance, hanging, LakeResource(settings=settings))
        assert "took over 0.2 s" in reason(first)
        # One look hangs; the next ticks do not hang a thread each beside it.
        threads = threading.active_count()
        assert "still hangs" in reason(evaluate(instance, hanging, LakeResource(settings=settings)))
        assert threading.active_count() == threads
    finally:
        LET_GO.set()
    deadline = time.monotonic() + 20
    while not tick(tmp_path, instance).run_requests:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("said_last", [60.0, 3600.0])
def test_a_run_that_has_said_nothing_for_long_is_failed_and_asked_for_again(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, said_last: float
):
    """Bug prevented: a run whose end nobody noted was in flight for ever, and the lane stood still."""
    run = instance.create_run_for_job(good_job, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("a sign of life", run)
    monkeypatch.setattr("sensors.kafka_offsets.time", SimpleNamespace(time=lambda: time.time() + said_last))
    result = tick(tmp_path, instance)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    if said_last < SILENT_SECONDS:
        assert found.status is dg.DagsterRunStatus.STARTED
        assert "in flight" in reason(result)
    else:
        assert found.status is dg.DagsterRunStatus.FAILURE
        assert "failed (1 in a row)" in reason(result)
