"""Learning on the running stack: real MLflow, a run killed in the middle, and a person's word on the champion."""

from __future__ import annotations

import io
import os
import re
import signal
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.dataset import digits
from cli.demo_learning import look
from cli.settle import wait_until_settled
from resources.mlflow_registry import ModelRegistry, open_registry
from resources.registry import CHALLENGER, CHAMPION, Learned
from tests.live_stack import LiveStack
from tests.platform_assets.dagster_client import DagsterClient, materialized
from transforms.families import DIGITS, DOMINANT_COLOUR

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
JOB = "train_digit_classifier"


@pytest.fixture
def dagster(stack: LiveStack) -> DagsterClient:
    return DagsterClient(stack.home)


@pytest.fixture(scope="module")
def digits_sent(stack: LiveStack) -> LiveStack:
    """The demo has been: digits are developed, and a model learned from them."""
    stack.run("demo", timeout=900)
    return stack


@pytest.fixture
def registry(digits_sent: LiveStack) -> ModelRegistry:
    return open_registry(digits_sent.settings())


def test_the_demo_has_a_champion_that_reads_digits_it_never_saw(digits_sent: LiveStack):
    found = look(digits_sent.settings())
    assert found is not None
    assert found.rows > 200
    assert found.right / found.rows > 0.95
    assert found.recognised == found.images
    assert found.named[DIGITS.name] >= 1797
    assert found.named[DOMINANT_COLOUR.name] >= 2, "the two photographs"


def shifted_digits(folder: Path, count: int) -> Path:
    """Digits moved by a pixel, so new pictures, in folders named by what they show."""
    for number, item in enumerate(digits()[:count]):
        pixels = np.roll(np.asarray(Image.open(io.BytesIO(item.image))), 1, axis=1)
        place = folder / str(item.truth)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def worker_of(dagster: DagsterClient, run_id: str) -> int | None:
    """The process of a run's steps, once the log has it."""
    messages = [event.get("message") or "" for event in dagster.run(run_id)["eventConnection"]["events"]]
    found = [re.search(r"Executing steps in process \(pid: (\d+)\)", message) for message in messages]
    return next((int(match[1]) for match in found if match), None)


def test_a_run_that_is_killed_after_registering_has_promoted_nothing_and_the_next_goes_on_with_its_model(
    digits_sent: LiveStack, dagster: DagsterClient, registry: ModelRegistry, tmp_path: Path
):
    digits_sent.run("send", str(shifted_digits(tmp_path, 150)), "--label-from-folder")
    wait_until_settled(digits_sent.settings(), digits_sent.dagster(), 300)
    champion, challenger = (registry.at(DIGITS.name, alias) for alias in (CHAMPION, CHALLENGER))
    run_id = dagster.launch(JOB)
    deadline = time.monotonic() + 240
    while (registered := registry.at(DIGITS.name, CHALLENGER)).version == challenger.version:
        assert time.monotonic() < deadline, "nothing was registered"
        time.sleep(0.05)
    os.kill(worker_of(dagster, run_id), signal.SIGKILL)
    assert registry.at(DIGITS.name, CHAMPION).version == champion.version
    # Nobody notes the end of a killed run but Dagster's monitoring; what it held is freed then.
    assert dagster.ended(run_id, 300)["status"] != "SUCCESS"
    run = dagster.ended(dagster.launch(JOB))
    assert {"training_set", "digit_classifier"} <= set(materialized(run))
    assert registry.versions(DIGITS.name)[0].version == registered.version, "the same set was learned from twice"
    # Whether it is better is the check's to say; where it is not, the job ends there and the champion stays.
    promoted = "champion" in set(materialized(run))
    assert registry.at(DIGITS.name, CHAMPION).version == (registered if promoted else champion).version


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
