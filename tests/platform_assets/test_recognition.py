"""The training job as Dagster runs it: real digits through developing, features, training, check, promotion, naming."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from cli.dataset import digits, photographs
from platform_assets.definitions import defs
from platform_assets.recognition.names import champion_key
from resources.job_names import RECOGNISE_JOB, train_job_name
from resources.registry import CHAMPION
from sensors import learning as sensors_learning
from tests.platform_assets.conftest import House
from transforms.families import DIGITS, DOMINANT_COLOUR, FAMILIES
from transforms.recognition import LEARNED_OF
from transforms.tables import RECOGNISED_IMAGES, TRAINING_SET

TRAIN_JOB, CHAMPION_KEY = train_job_name(DIGITS.name), champion_key(DIGITS)
DIGITS_SENT = 400


@pytest.fixture
def learned(house: House) -> House:
    """A house whose lane has developed digits with labels, and some labels that are none."""
    for number, item in enumerate(digits()[:DIGITS_SENT]):
        house.bronze.sealed(item.image, label="seven" if number < 5 else item.label, uploader="grace-hopper")
    house.land()
    house.run()
    return house


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    """What the failed step said."""
    (event,) = [one for one in result.all_events if one.is_step_failure and one.step_key == step]
    data = event.step_failure_data.user_failure_data
    return data.description if data is not None else event.step_failure_data.error.message


def test_digits_are_learned_promoted_and_named_and_no_label_enters_the_event_log(learned: House):
    result = learned.run(job=TRAIN_JOB)
    assert result.success
    trained, champion = learned.metadata(result, "digit_classifier"), learned.metadata(result, "champion")
    assert trained["newly trained"] is True
    assert trained["accuracy on the test split"] > 0.85
    assert (champion["version"], champion["promoted now"]) == ("1", True)
    made = learned.metadata(result, "training_set")
    assert made["digit_classifier: manifest"] == trained["manifest"]
    assert "label of another kind | 5" in made["left out"]
    assert learned.metadata(result, "recognised_images")["new rows"] == DIGITS_SENT
    assert all(check.passed for check in learned.checks(result).values())
    assert "digit_classifier.better_than_champion" in learned.checks(result)
    names = pl.read_delta(learned.lake.uri(RECOGNISED_IMAGES.name))
    assert names["id"].n_unique() == DIGITS_SENT
    secrets = ["grace-hopper", "seven", *names["id"].head(50), names["pseudonym"][0]]
    events = [entry.to_json() for entry in learned.instance.all_logs(result.run_id)]
    assert {secret for secret in secrets for event in events if secret in event} == set()
    # The sensors look at the assets that there are.
    for family in FAMILIES:
        assert sensors_learning.champion_key(family) == champion_key(family)
    assert champion[LEARNED_OF] == made["digit_classifier: labelled images"] > 300


def test_photographs_are_named_by_their_colour_and_digits_are_not(learned: House):
    """Bug prevented: a photograph named as some digit, for a classifier gives one of its classes to everything."""
    for item in photographs():
        # Labelled as a digit: it is none all the same, and nothing is learned from it.
        learned.bronze.sealed(item.image, label="7")
    learned.land()
    learned.run()
    learned.run(job=TRAIN_JOB)
    coloured = learned.run(job=train_job_name(DOMINANT_COLOUR.name))
    assert coloured.success
    assert learned.metadata(coloured, "recognised_images")["dominant_colour: new rows"] == len(photographs())
    assert learned.metadata(coloured, "dominant_colour")["accuracy on the test split"] == 1.0
    names = pl.read_delta(learned.lake.uri(RECOGNISED_IMAGES.name))
    assert dict(names.group_by("model").len().iter_rows()) == {
        DIGITS.name: DIGITS_SENT,
        DOMINANT_COLOUR.name: len(photographs()),
    }
    assert names["id"].n_unique() == names.height
    labelled = pl.read_delta(learned.lake.uri(TRAINING_SET.name)).join(names, on="id")
    assert set(labelled["model"]) == {DIGITS.name}
    again = learned.run(job=RECOGNISE_JOB)
    assert learned.metadata(again, "recognised_images")["new rows"] == 0


def test_a_champion_that_cannot_score_does_not_keep_other_families_from_naming(learned: House):
    for job in (TRAIN_JOB, train_job_name(DOMINANT_COLOUR.name)):
        learned.run(job=job)
    learned.registry.files[f"{DIGITS.name}/1"] = b"another file"
    learned.bronze.sealed(photographs()[0].image)
    learned.land()
    learned.run()
    result = learned.run(job=RECOGNISE_JOB, raise_on_error=False)
    assert "another one" in failure(result, "recognised_images")
    names = pl.read_delta(learned.lake.uri(RECOGNISED_IMAGES.name))
    assert names.filter(pl.col("model") == DOMINANT_COLOUR.name).height == 1


def test_a_second_run_has_nothing_to_learn_and_nothing_to_name(learned: House):
    learned.run(job=TRAIN_JOB)
    again = learned.run(job=TRAIN_JOB)
    assert learned.metadata(again, "digit_classifier")["newly trained"] is False
    assert learned.metadata(again, "champion")["promoted now"] is False
    assert learned.metadata(again, "recognised_images")["new rows"] == 0
    assert len(learned.registry.learned) == 1
    rows = pl.read_delta(learned.lake.uri(TRAINING_SET.name)).height
    assert rows == learned.metadata(again, "training_set")["digit_classifier: labelled images"]


def test_a_challenger_that_is_no_better_fails_the_check_and_the_champion_stays(learned: House):
    """A red run says so, where people look."""
    learned.run(job=TRAIN_JOB)
    for item in digits()[DIGITS_SENT : DIGITS_SENT + 60]:
        # Wrong labels on purpose: more to learn from, and a worse model.
        learned.bronze.sealed(item.image, label=str((int(item.label or 0) + 1) % 10))
    learned.land()
    learned.run()
    result = learned.run(job=TRAIN_JOB, raise_on_error=False)
    assert not result.success
    check = learned.checks(result)["digit_classifier.better_than_champion"]
    assert not check.passed and check.blocking
    assert "below the floor" in (check.description or "")
    assert learned.registry.at(DIGITS.name, CHAMPION).version == "1"
    assert not [one for one in result.get_asset_materialization_events() if one.asset_key == CHAMPION_KEY]


def test_whoever_materializes_the_champion_alone_cannot_pass_by_the_check(learned: House):
    learned.run(job=TRAIN_JOB)
    learned.bronze.sealed(digits()[500].image, label="1")
    learned.land()
    learned.run()
    learned.run(job=TRAIN_JOB, raise_on_error=False)
    alone = dg.Definitions(
        assets=defs.assets,
        jobs=[dg.define_asset_job("alone", selection=dg.AssetSelection.assets(CHAMPION_KEY))],
        resources=learned.resources,
    ).resolve_job_def("alone")
    result = alone.execute_in_process(instance=learned.instance, raise_on_error=False)
    assert "Nothing was promoted" in failure(result, "digit_classifier_champion")
    assert learned.registry.at(DIGITS.name, CHAMPION).version == "1"


@pytest.mark.parametrize("label", [None, "7"], ids=["no labels", "one label only"])
def test_what_cannot_be_learned_from_fails_once_with_a_sentence(house: House, label: str | None):
    for item in digits()[:20]:
        house.bronze.sealed(item.image, label=label)
    house.land()
    house.run()
    result = house.run(job=TRAIN_JOB, raise_on_error=False)
    said = failure(result, "digit_classifier")
    assert ("no labelled row" if label is None else "one and the same label") in said
    assert not [event for event in result.all_events if event.is_step_up_for_retry], "trying again is of no use"


def test_while_mlflow_is_away_training_fails_with_a_sentence_and_the_live_lane_goes_on(learned: House):
    learned.registry.away = True
    result = learned.run(job=TRAIN_JOB, raise_on_error=False)
    assert "connection refused" in failure(result, "digit_classifier")
    assert [event for event in result.all_events if event.is_step_up_for_retry], "it goes away by itself"
    learned.bronze.sealed(digits()[600].image)
    learned.land()
    assert learned.run().success


def test_without_a_champion_nothing_is_named_and_the_asset_says_so(learned: House):
    result = learned.run(job=RECOGNISE_JOB)
    assert result.success
    told = learned.metadata(result, "recognised_images")
    assert (told["new rows"], told["digit_classifier: champion"]) == (
        0,
        "none: nothing is named before a model was promoted",
    )


def test_an_emptied_registry_stops_naming_and_the_next_training_fills_it(learned: House):
    learned.run(job=TRAIN_JOB)
    learned.registry.empty()
    assert learned.metadata(learned.run(job=RECOGNISE_JOB), "recognised_images")["new rows"] == 0
    assert learned.metadata(learned.run(job=TRAIN_JOB), "champion")["promoted now"] is True
