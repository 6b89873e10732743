"""`darkroom access` as a person types it, on the running stack."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from access.kafka_acls import AclRule
from access.policy import load_policy
from cli.main import app
from resources.kafka_rights import KafkaRights, RuleChange
from tests.live_stack import DARKROOM, LiveStack

pytestmark = pytest.mark.stack


@pytest.fixture
def person(stack: LiveStack) -> Iterator[str]:
    """Somebody in the stack's directory, in sales."""
    name = "test-reader"
    line = [str(DARKROOM), "--home", str(stack.home), "people", "add", name, "--password-stdin", "--group", "sales"]
    subprocess.run(line, input="a-password-of-somebody\n", text=True, check=True, capture_output=True, timeout=60)
    yield name
    stack.run("people", "remove", name)


def test_everything_or_one_holder_is_shown(stack: LiveStack):
    policy = load_policy()
    shown = stack.run("access", "show").stdout
    assert {name for name in (*policy.groups, *policy.identities) if f" {name} " not in shown} == set()
    sales = stack.run("access", "show", "sales").stdout
    assert "logistics" not in sales
    assert policy.groups["sales"].note in sales


def test_explain_names_the_group_that_gives_a_person_a_right(stack: LiveStack, person: str):
    said = stack.run("access", "explain", person, "shop.items").stdout
    verbs = "DELETE, INSERT, SELECT, UPDATE"
    line = f"groups.sales of the policy, of which {person} is a member."
    assert f"By the policy {person} may {verbs} on shop.items (postgres): {line}" in said
    stack.run("people", "groups", person, "--group", "image-uploaders")
    said = stack.run("access", "explain", person, "shop.items").stdout
    assert f"By the policy {person} may do nothing with shop.items." in said
    assert f"Of the policy's groups {person} is in: image-uploaders." in said
    assert "Who may: analytics, logistics, operator, sales, shop." in said


def test_a_group_of_the_directory_with_a_services_name_gives_none_of_its_rights(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
):
    class Company:
        def everyone(self) -> dict[str, list[str]]:
            return {"eve": ["uploads", "admin"]}

    # Set back afterwards: --home sets it for the process.
    monkeypatch.setenv("DARKROOM_HOME", str(stack.home))
    monkeypatch.setattr("cli.access.current_people", Company)
    done = CliRunner().invoke(app, ["--home", str(stack.home), "access", "explain", "eve", "images.raw"])
    assert done.exit_code == 0, done.output
    assert "By the policy eve may do nothing with images.raw." in done.output
    assert "Of the policy's groups eve is in: none." in done.output


def test_explain_of_a_service_asks_no_directory(stack: LiveStack):
    said = stack.run("access", "explain", "uploads", "images.raw").stdout
    assert "uploads may DESCRIBE, WRITE on topic" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "salez"), "salez is in no line of the policy. Groups: logistics, analytics, sales"),
        (("explain", "sales", "shop.itemz"), "nothing named 'shop.itemz'. It speaks of: code"),
        (("explain", "nobody-here", "shop.items"), "nobody-here is no person of the stack's directory"),
    ],
)
def test_what_the_policy_does_not_know_is_one_sentence_with_the_valid_names(
    stack: LiveStack, arguments: tuple[str, ...], said: str
):
    done = stack.run("access", *arguments, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_says_what_differs_and_apply_puts_it_right_when_told_to(stack: LiveStack):
    stray = AclRule("User:streams", "TOPIC", "LITERAL", "images.raw", "DELETE")
    KafkaRights(stack.settings("admin"), load_policy()).apply([RuleChange(stray, missing=True)])
    said = "kafka: streams has DELETE on topic images.raw, which the policy does not give"
    planned = stack.run("access", "plan", "--check", check=False)
    assert planned.returncode == 1 and said in planned.stdout
    assert "ok postgres: as the policy says" in planned.stdout
    dry = stack.run("access", "apply").stdout
    assert said in dry and "Nothing was changed. Do it with --yes." in dry
    assert f"put right, {said}" in stack.run("access", "apply", "--yes").stdout
    assert said not in stack.run("access", "plan").stdout
