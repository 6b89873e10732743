"""`darkroom shop` as a person types it, on the running stack."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from access.policy import load_policy
from resources.postgres_roles import PostgresRoles
from stack.people import person_dsn
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack


@pytest.fixture
def person(stack: LiveStack) -> Iterator[str]:
    yield "test-person"
    stack.run("shop", "person", "test-person", "--remove", "--yes")


def test_a_person_gets_a_login_that_works_as_it_stands_and_what_their_groups_may(stack: LiveStack, person: str):
    dsn = stack.run("shop", "person", person, "--group", "sales").stdout.strip()
    assert dsn == person_dsn(stack.home, person)
    passfile = Path(psycopg.conninfo.conninfo_to_dict(dsn)["passfile"])
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    password = passfile.read_text().strip().split(":")[-1]
    assert password not in dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, value in (("search_path", "shop, pg_temp"), ("statement_timeout", "30s"), ("lock_timeout", "5s")):
            assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)
        connection.execute("UPDATE items SET cost = cost WHERE false")
        for statement in ("UPDATE sales SET status = 'packed'", "SELECT * FROM member_contacts", "SET ROLE sales"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    said = stack.run("shop", "whoami", "--person", person).stdout
    assert said.split("\n")[:2] == [f"login   {person}", "groups  sales"]
    assert "items: SELECT, INSERT, UPDATE, DELETE" in said
    assert stack.run("shop", "rights").stdout.count(f"{person} is in sales") == 1


def test_another_group_replaces_the_first_and_a_removed_person_stays_out(stack: LiveStack, person: str):
    dsn = stack.run("shop", "person", person, "--group", "sales").stdout.strip()
    again = stack.run("shop", "person", person, "--group", "analytics", "--group", "logistics").stdout.strip()
    assert again == dsn
    said = stack.run("shop", "whoami", "--person", person).stdout
    assert "groups  analytics, logistics" in said
    assert "items: SELECT\n" in said
    assert "UPDATE(status)" in said
    assert "Would remove" in stack.run("shop", "person", person, "--remove").stdout
    with psycopg.connect(dsn) as open_session:
        stack.run("shop", "person", person, "--remove", "--yes")
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    assert not Path(psycopg.conninfo.conninfo_to_dict(dsn)["passfile"]).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_a_wrong_password_and_a_person_with_rights_of_their_own_are_found(stack: LiveStack, person: str):
    dsn = stack.run("shop", "person", person, "--group", "analytics").stdout.strip()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(psycopg.conninfo.make_conninfo(dsn, passfile="", password="guessed"))
    admin = stack.settings("admin").postgres_dsn
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute('GRANT INSERT ON shop.sales TO "test-person"')
        connection.execute('ALTER ROLE "test-person" SET statement_timeout = 0')
        scram = connection.execute(
            "SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = %s", (person,)
        )
        assert scram.fetchone() == (True,)
    done = stack.run("shop", "rights", check=False)
    assert done.returncode == 1
    assert "test-person has INSERT on table shop.sales" in done.stdout
    assert "test-person has statement_timeout = 0 of its own" in done.stdout
    assert len(PostgresRoles(admin, load_policy()).apply()) == 2
    assert "All of it is as the policy says." in stack.run("shop", "rights").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("person", "admin", "--group", "sales"), "the name of a service, a group or the server"),
        (("person", "Ada; DROP", "--group", "sales"), "no name of a login. Valid: a small letter"),
        (
            ("person", "ada", "--group", "salez"),
            "salez is no group of the policy. Valid ones: analytics, logistics, sales",
        ),
        (("whoami", "--person", "nobody-here"), "Make the login with `darkroom shop person nobody-here"),
        (("load", "/nowhere"), "/nowhere is no folder"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_no_traceback(stack: LiveStack, arguments: tuple[str, ...], said: str):
    done = stack.run("shop", *arguments, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_a_fault_is_refused_with_its_line_and_nothing_is_kept(stack: LiveStack, tmp_path: Path):
    (tmp_path / "members.csv").write_text(
        "membership_id,status,since\ncli-test,active,2024-01-01\ncli-two,gone,2024-01-01\n"
    )
    done = stack.run("shop", "load", str(tmp_path), check=False)
    assert done.returncode == 1
    assert "members.csv line 3, column status: found 'gone'; valid: one of active, paused, left." in done.stderr
    with psycopg.connect(stack.settings("shop").postgres_dsn) as connection:
        query = "SELECT count(*) FROM shop.members WHERE membership_id = 'cli-test'"
        assert connection.execute(query).fetchone() == (0,)
