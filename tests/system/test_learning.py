"""Learning on the running stack: real MLflow, a run killed in the middle, and a person's word on the champion."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from cli.demo_learning import look
from resources.mlflow_registry import ModelRegistry
from resources.registry import CHAMPION
from tests.live_stack import LiveStack
from tests.platform_assets.dagster_client import DagsterClient, materialized
from transforms.recognition import DIGITS

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
    assert found.recognised == found.images >= 1797


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
    assert set(materialized(run)) == {"training_set", "digit_classifier", "champion", "recognised_images"}
    assert registry.at(DIGITS.name, CHAMPION) is not None


def test_a_person_promotes_only_with_yes_and_a_reason_and_both_are_kept(
    digits_sent: LiveStack, registry: ModelRegistry
):
    champion = registry.at(DIGITS.name, CHAMPION)
    listed = digits_sent.run("models", "list").stdout
    assert "champion" in listed and champion.version in listed
    first = digits_sent.run("models", "rollback", check=False)
    assert first.returncode in (0, 1)
    unknown = digits_sent.run("models", "promote", "999", check=False)
    assert unknown.returncode == 1 and "Valid ones" in unknown.stderr
    refused = digits_sent.run("models", "promote", champion.version, "--yes", check=False)
    assert refused.returncode == 2 and "--why" in refused.stderr
    same = digits_sent.run("models", "promote", champion.version).stdout
    assert "the champion already" in same
    assert registry.at(DIGITS.name, CHAMPION).version == champion.version
