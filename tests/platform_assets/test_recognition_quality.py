"""How well the champions do, as Dagster measures and judges it: real digits on one day, other pictures on the next."""

from __future__ import annotations

import io
from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image

from cli.dataset import digits, photographs
from resources.job_names import RECOGNISE_JOB, train_job_name
from resources.quality import measure
from resources.training_set import read_training_set
from tests.platform_assets.conftest import House
from tests.resources.developing.bronze_rows import DAY
from tests.resources.learning.label_rows import Corrections
from transforms.drift import FEWEST_ROWS
from transforms.families import DIGITS, DOMINANT_COLOUR
from transforms.quality import Tally
from transforms.tables import RECOGNITION_QUALITY

TRAIN_JOB = train_job_name(DIGITS.name)
SENT = 520
TOMORROW = DAY + timedelta(days=1)


def blurred(seed: int) -> bytes:
    """A small scan that is no digit: shades that lie close to each other."""
    shades = np.random.default_rng(seed).integers(90, 130, (8, 8), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(shades).save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def learned(house: House) -> House:
    """A champion that learned from one day of digits."""
    for item in digits()[:SENT]:
        house.bronze.sealed(item.image, label=item.label, uploader="grace-hopper")
    house.land()
    house.run()
    house.run(job=TRAIN_JOB)
    return house


def rows(house: House) -> pl.DataFrame:
    return pl.read_delta(house.lake.uri(RECOGNITION_QUALITY.name)).sort("day")


def check(house: House, result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return house.checks(result)[f"recognition_quality.{name}"]


def test_a_good_day_is_measured_and_passes_and_nothing_of_a_person_enters_the_event_log(learned: House):
    result = learned.run(job=RECOGNISE_JOB)
    (row,) = rows(learned).to_dicts()
    assert (row["day"], row["model"], row["named"], row["developed"]) == (DAY, DIGITS.name, SENT, SENT)
    held_out = measure(learned.lake, learned.bronze.keys, learned.registry, DIGITS).accuracy[DAY].labelled
    assert 0 < row["labelled"] == held_out < SENT / 2, "the training split is left out"
    assert row["labelled_right"] / row["labelled"] > 0.9
    assert row["drift"] < 0.1
    for name in ("digit_classifier_accuracy", "digit_classifier_drift", "dominant_colour_drift"):
        found = check(learned, result, name)
        assert found.passed and not found.blocking
    told = learned.metadata(result, "recognition_quality")
    assert "svg" in told["digit_classifier: drift by part"] and "svg" in told["digit_classifier: accuracy by day"]
    assert told["dominant_colour: champion"] == "none that can score: nothing is measured"
    processed = pl.read_delta(learned.lake.uri("images/processed_images"))
    secrets = ["grace-hopper", *processed["id"].head(50), processed["pseudonym"][0]]
    events = [entry.to_json() for entry in learned.instance.all_logs(result.run_id)]
    assert {secret for secret in secrets for event in events if secret in event} == set()


def test_corrected_labels_count_at_once_and_are_told_besides(learned: House):
    """The champion is held to what people put right, before the next training set is made."""
    before = measure(learned.lake, learned.bronze.keys, learned.registry, DIGITS)
    rows = read_training_set(learned.lake, learned.bronze.keys, DIGITS)
    chosen = [at for at, split in enumerate(rows.splits) if split == "test"][:20]
    assert len(chosen) == 20
    corrections = Corrections(learned.lake, learned.bronze.keys)
    for at in chosen[:19]:
        corrections.say(rows.ids[at], rows.keys[at], str((int(rows.labels[at]) + 1) % 10))
    corrections.say(rows.ids[chosen[19]], rows.keys[chosen[19]], "no digit")
    after = measure(learned.lake, learned.bronze.keys, learned.registry, DIGITS)
    assert after.corrected.labelled == 19 and after.corrected.right <= 2
    assert before.corrected == Tally(0, 0)
    assert after.accuracy[DAY].labelled == before.accuracy[DAY].labelled - 1
    assert after.accuracy[DAY].right < before.accuracy[DAY].right - 10
    told = learned.metadata(learned.run(job=RECOGNISE_JOB), "recognition_quality")
    assert told["digit_classifier: corrected labels named right"].endswith(" of 19, none learned from")


def test_a_day_of_other_pictures_is_an_error_and_stops_nothing(learned: House):
    for number in range(FEWEST_ROWS + 120):
        # Any label will do: none of them is right but by chance.
        learned.bronze.sealed(blurred(number), label=str(number % 10), day=TOMORROW)
    learned.land()
    learned.run()
    result = learned.run(job=RECOGNISE_JOB)
    assert result.success, "the checks block nothing"
    drifted = check(learned, result, "digit_classifier_drift")
    assert (drifted.passed, drifted.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert set(rows(learned)["day"]) == {DAY, TOMORROW}
    # Labels of a day count once a training set has them.
    learned.run(job=TRAIN_JOB, raise_on_error=False)
    again = learned.run(job=RECOGNISE_JOB)
    accuracy = check(learned, again, "digit_classifier_accuracy")
    by_day = {row["day"]: row for row in rows(learned).to_dicts()}
    assert by_day[TOMORROW]["labelled"] > 0
    assert by_day[TOMORROW]["labelled_right"] / by_day[TOMORROW]["labelled"] < 0.5
    assert by_day[DAY]["drift"] is not None, "what was the newest day once keeps what was measured then"
    assert (accuracy.passed, accuracy.severity) == (False, dg.AssetCheckSeverity.ERROR)
    # What is purged keeps its figures: they speak of nobody.
    before = rows(learned).filter(pl.col("day") == DAY)
    learned.lake.open("images/processed_images").delete(f"day = '{DAY}'")
    learned.run(job=RECOGNISE_JOB)
    assert rows(learned).filter(pl.col("day") == DAY).equals(before)


def test_a_family_of_its_own_pictures_is_measured_without_labels(house: House):
    house.bronze.sealed(photographs()[0].image)
    house.land()
    house.run()
    result = house.run(job=train_job_name(DOMINANT_COLOUR.name))
    assert {(row["model"], row["labelled"], row["drift"]) for row in rows(house).to_dicts()} == {
        (DOMINANT_COLOUR.name, 0, None)
    }
    assert house.metadata(result, "recognition_quality")["dominant_colour: drift"] == "too few images to say"
    found = check(house, result, "dominant_colour_drift")
    assert found.passed and "too few to say" in found.description
