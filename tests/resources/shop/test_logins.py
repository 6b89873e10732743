"""Logins as the directory has people: who joins, moves and leaves, and what is left of them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from access.policy import load_policy
from resources.directory import Person
from resources.postgres_standing import OWNER
from resources.shop_logins import apply_logins, plan_logins
from resources.shop_people import put_person
from stack.people import person_dsn
from tests.live_stack import DARKROOM, LiveStack

# Logins belong to the whole server, and a plan is about all of them.
pytestmark = [pytest.mark.stack]
POLICY = load_policy()


@pytest.fixture(scope="module", autouse=True)
def _nobody_else(stack: LiveStack) -> Iterator[None]:
    """The stack would follow its own directory, which knows nobody of these."""
    with stack.without("access"):
        apply_logins(stack.settings("admin").postgres_dsn, POLICY, [])  # whom it made of other tests' people
        yield


@pytest.fixture
def name(shop: str) -> Iterator[str]:
    """A name whose login, if there is one, goes afterwards."""
    name = f"l-{uuid.uuid4().hex[:12]}"
    yield name
    apply_logins(shop, POLICY, [])
    with psycopg.connect(shop, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def of(name: str, *groups: str) -> Person:
    return Person(name, f"uid={name}", tuple(sorted(groups)))


def login(stack: LiveStack, shop: str, name: str) -> psycopg.Connection:
    parts = psycopg.conninfo.conninfo_to_dict(shop)
    kept = {key: parts[key] for key in ("host", "port", "dbname", "sslmode", "sslrootcert")}
    return psycopg.connect(make_conninfo(**kept, user=name, password=f"pw-of-{name}"), autocommit=True)


def test_somebody_joins_moves_and_leaves_and_each_second_plan_is_empty(stack: LiveStack, shop: str, name: str) -> None:
    password = {name: f"pw-of-{name}"}
    (joins,) = plan_logins(shop, POLICY, [of(name, "sales", "ml-engineers")]).changes
    assert joins.sentence == f"{name} becomes a login in sales"
    assert apply_logins(shop, POLICY, [of(name, "sales", "ml-engineers")], password).changes == (joins,)
    assert plan_logins(shop, POLICY, [of(name, "sales")]).changes == ()

    session = login(stack, shop, name)
    session.execute("INSERT INTO shop.items VALUES ('a-tray', 'Tray', 'Corvin', 3, 100)")
    apply_logins(shop, POLICY, [of(name, "analytics")])
    assert plan_logins(shop, POLICY, [of(name, "analytics")]).changes == ()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    with login(stack, shop, name) as again:
        assert again.execute("SELECT count(*) FROM shop.items").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            again.execute("DELETE FROM shop.items")
        (leaves,) = plan_logins(shop, POLICY, []).changes
        assert leaves.sentence == f"{name} is in no group any more: the login ends, with its sessions"
        apply_logins(shop, POLICY, [])
        with pytest.raises(psycopg.OperationalError):
            again.execute("SELECT 1")
    assert plan_logins(shop, POLICY, []).changes == ()
    with pytest.raises(psycopg.OperationalError, match="requires a valid client certificate"):
        login(stack, shop, name)


def test_what_a_leaver_owns_goes_to_the_shops_owner(shop: str, name: str) -> None:
    apply_logins(shop, POLICY, [of(name, "sales")])
    with psycopg.connect(shop, autocommit=True) as connection:
        table = sql.Identifier("shop", f"of_{name}")
        connection.execute(sql.SQL("CREATE TABLE {} ()").format(table))
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, sql.Identifier(name)))
        apply_logins(shop, POLICY, [])
        found = connection.execute(
            "SELECT tableowner FROM pg_tables WHERE schemaname = 'shop' AND tablename = %s", (f"of_{name}",)
        ).fetchone()
    assert found == (OWNER,)


def test_a_login_of_nobody_in_the_directory_is_let_be_and_taken_over_when_they_come(shop: str, name: str) -> None:
    put_person(shop, POLICY, name, ["sales"], None)
    assert plan_logins(shop, POLICY, []).changes == ()
    (change,) = plan_logins(shop, POLICY, [of(name, "sales")]).changes
    assert change.sentence == f"{name} is taken over: the login is the directory's from now on"
    apply_logins(shop, POLICY, [of(name, "sales")])
    (change,) = plan_logins(shop, POLICY, []).changes
    assert change.groups == ()


def test_a_name_that_can_be_no_login_is_said_and_the_others_are_made(shop: str, name: str) -> None:
    people = [of("dagster", "sales"), of("a b", "sales"), of("postgres", "sales"), of(name, "sales")]
    plan = plan_logins(shop, POLICY, people)
    assert [change.name for change in plan.changes] == [name]
    assert len(plan.refused) == 3 and any("'dagster' is the name of a service" in said for said in plan.refused)


def test_a_group_of_the_directory_that_the_database_does_not_know_makes_nobody_a_login(shop: str) -> None:
    assert plan_logins(shop, POLICY, [of("zoe", "platform-admins", "image-uploaders", "strangers")]).changes == ()


def test_the_command_follows_the_directory_and_is_a_dry_run_by_default(stack: LiveStack) -> None:
    def people(*options: str) -> str:
        line = [str(DARKROOM), "--home", str(stack.home), "shop", "people", *options]
        return subprocess.run(line, text=True, check=True, capture_output=True, timeout=60).stdout

    people("--yes")  # whom other tests left
    with stack.person("logistics") as (name, _):
        joins = f"{name} becomes a login in logistics"
        assert joins in people() and "Nothing was changed" in people()
        assert joins in people("--yes")
        assert people() == "Every login is as the directory says.\n"
        with psycopg.connect(person_dsn(stack.home, name)) as session:
            assert session.execute("SELECT current_user").fetchone() == (name,)
    assert f"{name} is in no group any more" in people("--yes")
    assert people() == "Every login is as the directory says.\n"
