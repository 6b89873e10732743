"""Learning on the running stack: real MLflow, a run killed in the middle, and a person's word on the champion."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid

import pytest

from cli.demo_learning import look
from resources.mlflow_registry import ModelRegistry
from resources.registry import CHAMPION, Learned
from tests.live_stack import LiveStack
from tests.platform_assets.dagster_client import DagsterClient, materialized
from transforms.families import DIGITS, DOMINANT_COLOUR

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
JOB = "train_digit_classifier"


@pytest.fixture
def dagster(stack: LiveStack) -> DagsterClient:
    return DagsterClient(stack.dagster_url)


@pytest.fixture(scope="module")
def digits_sent(stack: LiveStack) -> LiveStack:
    """The demo has been: digits are developed, and a model learned from them."""
    stack.run("demo", timeout=900)
    return stack


@pytest.fixture
def registry(digits_sent: LiveStack) -> ModelRegistry:
    return ModelRegistry(digits_sent.status()["mlflow"]["url"])


def test_the_demo_has_a_champion_that_reads_digits_it_never_saw(digits_sent: LiveStack):
    found = look(digits_sent.settings())
    assert found is not None
    assert found.rows > 200
    assert found.right / found.rows > 0.95
    assert found.recognised == found.images
    assert found.named[DIGITS.name] >= 1797
    assert found.named[DOMINANT_COLOUR.name] >= 2, "the two photographs"


def test_a_training_run_that_is_killed_promotes_nothing_and_the_next_one_does(
    digits_sent: LiveStack, dagster: DagsterClient, registry: ModelRegistry
):
    before = registry.at(DIGITS.name, CHAMPION)
    run_id = dagster.launch(JOB)
    deadline = time.monotonic() + 120
    pid = None
    while pid is None:
        messages = [event.get("message") or "" for event in dagster.run(run_id)["eventConnection"]["events"]]
        begun = any(message.startswith('Started execution of step "digit_classifier"') for message in messages)
        found = [re.search(r"Executing steps in process \(pid: (\d+)\)", message) for message in messages]
        pid = next((int(match[1]) for match in found if match), None) if begun else None
        assert time.monotonic() < deadline
    os.kill(pid, signal.SIGKILL)
    assert registry.at(DIGITS.name, CHAMPION).version == before.version
    while dagster.run(run_id)["status"] not in ("FAILURE", "CANCELED"):
        # Nobody notes the end of a killed run but Dagster's monitoring; what it held is freed then.
        assert time.monotonic() < deadline + 180
        time.sleep(1)
    (run,) = dagster.finished(dagster.launch(JOB))
    made = {"training_set", "digit_classifier", "champion", "recognised_images", "recognition_quality"}
    assert set(materialized(run)) == made
    assert registry.at(DIGITS.name, CHAMPION) is not None


def test_a_person_promotes_and_takes_back_only_with_yes_and_a_reason_and_both_are_kept(
    digits_sent: LiveStack, registry: ModelRegistry
):
    """On a model of its own: two versions of the digits' file."""
    champion = registry.at(DIGITS.name, CHAMPION)
    name, file = f"model-{uuid.uuid4().hex[:8]}", registry.load(champion)
    first, second = (registry.register(Learned(name, file, {}, {}, {})) for _ in range(2))
    registry.move(first, CHAMPION, who="run 1", why="the first")
    model = ("--model", name)
    refused = digits_sent.run("models", "promote", second.version, *model, "--yes", check=False)
    assert refused.returncode == 2 and "--why" in refused.stderr
    assert "would be version 2" in digits_sent.run("models", "promote", second.version, *model).stdout
    assert registry.at(name, CHAMPION).version == "1", "a dry run changes nothing"
    digits_sent.run("models", "promote", second.version, *model, "--yes", "--why", "I looked at it", "--who", "ada")
    digits_sent.run("models", "rollback", *model, "--yes", "--why", "sevens are wrong", "--who", "grace")
    now = registry.at(name, CHAMPION)
    assert (now.version, now.moves[-1]["who"], now.moves[-1]["why"]) == ("1", "grace", "sevens are wrong")
    assert registry.version(name, "2").moves[-1]["who"] == "ada"
    listed = digits_sent.run("models", "list", *model).stdout
    assert "sevens are wrong" in listed and "I looked at it" in listed
    other = digits_sent.run("models", "list", "--model", "no-model", check=False)
    assert other.returncode == 1 and "Valid ones for --model: digit_classifier, dominant_colour." in other.stderr
    unknown = digits_sent.run("models", "promote", "999", *model, check=False)
    assert unknown.returncode == 1 and "Valid ones: 2, 1" in unknown.stderr
