"""When training and naming are asked for: by rule, and as the sensors see it on a real lake."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pyarrow as pa
import pytest

from resources.dagster_resources import LakeResource, SettingsResource
from resources.lake import Lake
from sensors.learning import (
    champion_key,
    images_to_name,
    nightly_training,
    training_sensor,
    wanted,
)
from transforms.families import DIGITS, DOMINANT_COLOUR
from transforms.recognition import CORRECTED_OF, LEARNED_OF, Family
from transforms.tables import IMAGE_FEATURES, LABEL_CORRECTIONS, PROCESSED_IMAGES

labels_grown = training_sensor(DIGITS)
AT = datetime(2026, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("labelled", "learned_of", "asked_at", "asks"),
    [
        (499, 0, 0, False),
        (500, 0, 0, True),
        (600, 0, 500, True),
        (599, 0, 500, False),
        (1199, 1000, 0, False),
        (1200, 1000, 0, True),
        (1300, 1000, 1200, False),
        (1440, 1000, 1200, True),
        (100, 1000, 0, False),
    ],
    ids=[
        "too few for a first model", "enough for a first model", "grown since a first run that promoted nothing",
        "not grown since it", "not grown enough", "grown by the share", "asked for already at a fifth less",
        "grown by the share since it was asked for", "days were purged",
    ],
)  # fmt: skip
def test_training_is_asked_for_when_labels_have_grown(labelled: int, learned_of: int, asked_at: int, asks: bool):
    assert (wanted(labelled, learned_of, asked_at, least=500, share=0.2) is not None) == asks


class Room:
    """A lake with rows in clear, and a Dagster that remembers."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, least: int = 3) -> None:
        self.lake = Lake(str(home / "lake"))
        self.instance = instance
        settings = SettingsResource(overrides={"home": str(home), "recognition_least": least})
        self.resources = {"settings": settings, "lake": LakeResource(settings=settings)}
        self.rows = 0

    def fill(self, spec, count: int, labelled: bool = True) -> None:
        rows = []
        for _ in range(count):
            self.rows += 1
            row = {}
            for field in spec.schema:
                made = {pa.string(): "x", pa.date32(): date(2026, 3, 5), pa.int64(): self.rows, pa.int32(): 1}
                value = made.get(field.type, AT if pa.types.is_timestamp(field.type) else None)
                row[field.name] = 1.0 if pa.types.is_float64(field.type) else value
            row["id"] = f"image-{self.rows}"
            row["label"] = b"sealed" if labelled else None
            rows.append({name: row.get(name) for name in spec.schema.names})
        self.lake.append(self.lake.ensure(spec), spec, pa.Table.from_pylist(rows, schema=spec.schema))

    def correct(self, *ids: str) -> None:
        """Corrections of these images, as bronze shows them without a key."""
        spec, rows = LABEL_CORRECTIONS, []
        for id in ids:
            self.rows += 1
            made = {"key": id.encode(), "offset": self.rows, "partition": 0, "day": date(2026, 3, 5)}
            text = dict.fromkeys(("topic", "topic_id", "origin_cluster"), "x")
            rows.append({**made, **text, "timestamp": AT, "landed_at": AT})
        self.lake.append(self.lake.ensure(spec), spec, pa.Table.from_pylist(rows, schema=spec.schema))

    def champion(self, version: str, learned_of: int, family: Family = DIGITS, corrected: int = 0) -> None:
        told = {"version": version, LEARNED_OF: learned_of, CORRECTED_OF: corrected}
        event = dg.AssetMaterialization(champion_key(family), metadata=told)
        self.instance.report_runless_asset_event(event)

    def tick(self, sensor: dg.SensorDefinition, cursor: str | None = None):
        needed = {name: self.resources[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(instance=self.instance, cursor=cursor, resources=needed) as context:
            return sensor.evaluate_tick(context)


@pytest.fixture
def room(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Room(tmp_path, instance)


def test_the_first_model_is_asked_for_once_there_is_enough(room: Room):
    assert not room.tick(labels_grown).run_requests, "no table yet"
    room.fill(PROCESSED_IMAGES, 2)
    room.fill(PROCESSED_IMAGES, 9, labelled=False)
    assert not room.tick(labels_grown).run_requests
    room.fill(PROCESSED_IMAGES, 1)
    asked = room.tick(labels_grown)
    assert [request.tags["darkroom/why"] for request in asked.run_requests] == ["3 labelled images and no model yet"]
    assert not room.tick(labels_grown, asked.cursor).run_requests, "asked for already"


def test_a_family_that_brings_its_examples_is_trained_once_there_is_an_image(room: Room):
    sensor = training_sensor(DOMINANT_COLOUR)
    assert room.tick(sensor).skip_message == "no image has features yet"
    room.fill(IMAGE_FEATURES, 1, labelled=False)
    first, again = room.tick(sensor).run_requests[0], room.tick(sensor).run_requests[0]
    assert first.run_key == again.run_key, "Dagster takes each key once"
    room.champion("1", 29, DOMINANT_COLOUR)
    assert "there is a champion" in room.tick(sensor).skip_message


def test_corrections_alone_ask_for_training_and_the_same_again_does_not(room: Room):
    """Bug prevented: corrected labels add no labelled image, and would wait for the night."""
    room.fill(PROCESSED_IMAGES, 10)
    room.champion("4", 10, corrected=0)
    first = room.tick(labels_grown)
    assert not first.run_requests
    room.correct("image-1", "image-2", "nobody's")
    asked = room.tick(labels_grown, first.cursor)
    assert [request.tags["darkroom/why"] for request in asked.run_requests] == ["labelled images grew from 10 to 12"]
    room.correct("image-1", "image-2", "image-1")
    assert not room.tick(labels_grown, asked.cursor).run_requests
    room.champion("5", 10, corrected=2)
    assert not room.tick(labels_grown, None).run_requests


def test_a_correction_labels_an_image_that_had_no_label(room: Room):
    room.fill(PROCESSED_IMAGES, 2)
    room.fill(PROCESSED_IMAGES, 1, labelled=False)
    assert not room.tick(labels_grown).run_requests
    room.correct("image-3")
    assert room.tick(labels_grown).run_requests


@pytest.mark.parametrize("cursor", ["", "[]", "{", '{"version": "x", "asked": null}'])
def test_no_cursor_can_stop_the_sensor(room: Room, cursor: str):
    room.fill(PROCESSED_IMAGES, 3)
    assert room.tick(labels_grown, cursor).run_requests


@dg.op
def work(context) -> None:
    if context.run.tags.get("fails"):
        raise RuntimeError("MLflow is away")


@dg.job(name="recognise_images")
def naming() -> None:
    work()


@pytest.mark.parametrize(
    ("fails", "later", "why"),
    [
        (True, 60.0, None),
        (True, 3600.0, "after the failure"),
        (False, 3600.0, None),
        (False, 25 * 3600.0, "a day old"),
    ],
)
def test_a_run_that_failed_is_asked_for_again_and_one_a_day_at_least(
    room: Room, monkeypatch: pytest.MonkeyPatch, fails: bool, later: float, why: str | None
):
    """Bug prevented: the cursor moved when the run was asked for, and what an outage left unnamed stayed so."""
    room.fill(IMAGE_FEATURES, 2)
    room.champion("4", 3)
    first = room.tick(images_to_name)
    tags = {"fails": "yes"} if fails else {}
    naming.execute_in_process(instance=room.instance, tags=tags, raise_on_error=False)
    monkeypatch.setattr("sensors.learning.time", SimpleNamespace(time=lambda: time.time() + later))
    again = room.tick(images_to_name, first.cursor)
    assert bool(again.run_requests) == (why is not None)
    if why is not None:
        assert why in again.run_requests[0].tags["darkroom/why"]
        assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_images_are_named_when_some_came_and_there_is_a_champion(room: Room):
    room.fill(IMAGE_FEATURES, 2)
    assert "no champion" in room.tick(images_to_name).skip_message
    room.champion("4", 3)
    asked = room.tick(images_to_name)
    assert [request.run_key for request in asked.run_requests] == ["4.0-2-first"]
    assert room.tick(images_to_name, asked.cursor).skip_message == "nothing new to name"
    room.fill(IMAGE_FEATURES, 1)
    assert room.tick(images_to_name, asked.cursor).run_requests
    room.champion("1", 3, DOMINANT_COLOUR)
    assert room.tick(images_to_name, "4.0-3").run_requests, "a first champion of another family too"
    room.champion("5", 3)
    assert room.tick(images_to_name, "4.0-3").run_requests, "a new champion names the living days anew"


def test_a_lake_that_is_away_is_a_skipped_tick_with_a_sentence(room: Room, monkeypatch: pytest.MonkeyPatch):
    room.fill(PROCESSED_IMAGES, 3)
    log = Path(room.lake.uri(PROCESSED_IMAGES.name), "_delta_log", "00000000000000000000.json")
    log.write_text("broken")
    tick = room.tick(labels_grown)
    assert not tick.run_requests and "LakeUnavailable" in tick.skip_message


@pytest.mark.parametrize(("images", "runs"), [(2, 0), (3, 1)], ids=["too few", "enough"])
def test_the_night_trains_unless_there_is_nothing_to_learn_from(room: Room, images: int, runs: int):
    room.fill(PROCESSED_IMAGES, images)
    # With storage on disk: a schedule takes no other.
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(instance=instance, resources=room.resources) as context,
    ):
        assert len(nightly_training(DIGITS).evaluate_tick(context).run_requests or ()) == runs
        assert nightly_training(DOMINANT_COLOUR).evaluate_tick(context).run_requests, "it needs no label of anybody"
