"""access/access_policy on the stack: it compares every point, applies where it may, and is red on drift."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from access.kafka_acls import AclRule
from access.policy import load_policy
from platform_assets.access.access_policy import CHECKS, access_policy, access_policy_checks
from resources.dagster_resources import resource_defs
from resources.kafka_rights import KafkaRights, RuleChange
from resources.postgres import upgrade
from resources.postgres_roles import PostgresRoles
from stack.paths import Layout
from stack.state import identity_overrides, load_state
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack


@pytest.fixture
def admin(stack: LiveStack) -> Iterator[str]:
    """The superuser's connection string of a shop of its own."""
    dsn = stack.settings("admin").postgres_dsn
    name = f"shop_test_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            own = make_conninfo(dsn, dbname=name)
            upgrade(own)
            PostgresRoles(own, load_policy()).apply()
            yield own
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def materialize(stack: LiveStack, **overrides: str) -> dg.ExecuteInProcessResult:
    settings = identity_overrides(Layout(stack.home), load_state(stack.home), "dagster") | overrides
    return dg.materialize([access_policy, access_policy_checks], resources=resource_defs(settings))


def checks(done: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in done.get_asset_check_evaluations()}


def figures(done: dg.ExecuteInProcessResult) -> tuple[object, bool]:
    (made,) = done.asset_materializations_for_node("access__access_policy")
    return made.metadata["changes applied"].value, checks(done)[CHECKS["postgres"]].passed


def test_a_run_without_a_login_to_apply_finds_drift_and_changes_nothing(stack: LiveStack, admin: str):
    name = psycopg.conninfo.conninfo_to_dict(admin)["dbname"]
    low = make_conninfo(stack.settings("shop").postgres_dsn, dbname=name)
    assert figures(materialize(stack, shop_dsn=low)) == (0, True)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON shop.sales TO analytics")
    for _ in range(2):
        done = materialize(stack, shop_dsn=low)
        assert figures(done) == (0, False)
    check = checks(done)[CHECKS["postgres"]]
    assert "analytics has INSERT on table shop.sales" in check.metadata["drift"].value
    assert "access apply" in check.metadata["what to do"].value


def test_a_run_with_a_login_to_apply_puts_it_right(stack: LiveStack, admin: str):
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON shop.sales TO analytics")
    assert figures(materialize(stack, policy_dsn=admin)) == (1, True)
    assert figures(materialize(stack, policy_dsn=admin)) == (0, True)


def test_a_rule_at_kafka_that_the_policy_does_not_give_is_red_until_it_is_taken_back(stack: LiveStack):
    rights = KafkaRights(stack.settings("admin"), load_policy())
    stray = AclRule("User:uploads", "TOPIC", "LITERAL", "images.raw", "DELETE")
    rights.apply([RuleChange(stray, missing=True)])
    try:
        check = checks(materialize(stack))[CHECKS["kafka"]]
        assert not check.passed
        assert "uploads has DELETE on topic images.raw" in check.metadata["drift"].value
    finally:
        stack.run("access", "apply", "--yes")
    assert not [change for change in rights.plan() if change.rule == stray]


def test_what_runs_with_another_policy_is_red_and_a_point_that_is_away_hides_no_other(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
):
    found = checks(materialize(stack))
    assert found[CHECKS["gateway"]].passed and found[CHECKS["dagster"]].passed
    narrower = load_policy().model_copy(update={"routes": load_policy().routes[1:]})
    monkeypatch.setattr("access.policy.load_policy", lambda: narrower)
    found = checks(materialize(stack, kafka_bootstrap="127.0.0.1:1", kafka_timeout_seconds="1"))
    assert "gateway runs with policy" in found[CHECKS["gateway"]].metadata["drift"].value
    assert "webserver-read-only runs with policy" in found[CHECKS["dagster"]].metadata["drift"].value
    assert "127.0.0.1:1" in found[CHECKS["kafka"]].metadata["away"].value
    assert not any(found[CHECKS[point]].passed for point in ("gateway", "dagster", "kafka"))
    assert found[CHECKS["postgres"]].passed


def test_the_runs_of_the_stack_log_in_as_the_shop_and_have_no_login_to_apply(stack: LiveStack):
    settings = stack.settings("dagster")
    assert settings.policy_dsn == ""
    with psycopg.connect(settings.shop_dsn) as connection:
        assert connection.execute("SELECT session_user").fetchone() == ("shop",)
