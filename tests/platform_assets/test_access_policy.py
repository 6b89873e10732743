"""access/access_policy on the stack's PostgreSQL: it compares, applies where it may, and its check is red on drift."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from access.policy import load_policy
from platform_assets.access.access_policy import access_policy, postgres_as_the_policy_says
from resources.dagster_resources import resource_defs
from resources.postgres import upgrade
from resources.postgres_roles import PostgresRoles
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


def materialize(**overrides: str) -> dg.ExecuteInProcessResult:
    resources = {"postgres_roles": resource_defs(overrides)["postgres_roles"]}
    return dg.materialize([access_policy, postgres_as_the_policy_says], resources=resources)


def figures(done: dg.ExecuteInProcessResult) -> tuple[object, object, bool]:
    (made,) = done.asset_materializations_for_node("access__access_policy")
    (check,) = done.get_asset_check_evaluations()
    return made.metadata["differences found"].value, made.metadata["changes applied"].value, check.passed


def test_a_run_without_a_login_to_apply_finds_drift_and_changes_nothing(stack: LiveStack, admin: str):
    name = psycopg.conninfo.conninfo_to_dict(admin)["dbname"]
    low = make_conninfo(stack.settings("shop").postgres_dsn, dbname=name)
    assert figures(materialize(shop_dsn=low)) == (0, 0, True)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON shop.sales TO analytics")
    for _ in range(2):
        done = materialize(shop_dsn=low)
        assert figures(done) == (1, 0, False)
    (check,) = done.get_asset_check_evaluations()
    assert "analytics has INSERT on table shop.sales" in check.metadata["drift"].value


def test_a_run_with_a_login_to_apply_puts_it_right(admin: str):
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("GRANT INSERT ON shop.sales TO analytics")
    assert figures(materialize(policy_dsn=admin)) == (1, 1, True)
    assert figures(materialize(policy_dsn=admin)) == (0, 0, True)


def test_the_runs_of_the_stack_log_in_as_the_shop_and_have_no_login_to_apply(stack: LiveStack):
    settings = stack.settings("dagster")
    assert settings.policy_dsn == ""
    with psycopg.connect(settings.shop_dsn) as connection:
        assert connection.execute("SELECT session_user").fetchone() == ("shop",)
