"""`darkroom shop` as a person types it, on the running stack."""

from __future__ import annotations

import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from access.policy import load_policy
from resources.event_log import EventLog, open_log
from resources.lake import CommitConflict, Lake, open_lake
from resources.postgres_roles import PostgresRoles
from resources.shop_capture import capture
from resources.version_table import VersionTable
from stack.people import person_dsn
from tests.live_stack import LiveStack
from transforms.shop_changes import KEY
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

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
        (("person", "Ada; DROP", "--group", "sales"), "no name of a login. Valid: 1 to 63 characters"),
        (
            ("person", "ada", "--group", "salez"),
            "salez is no group with rights in the shop. Valid ones: analytics, logistics, sales",
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


@pytest.fixture
def things(stack: LiveStack) -> Iterator[str]:
    """An item of the stack's own shop that changed once and was removed."""
    name = f"thing-{secrets.token_hex(4)}"
    with psycopg.connect(stack.settings("admin").postgres_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO shop.items VALUES (%s, '[bold]Thing', 'Corvin', 5, 0.03)", (name,))
        connection.execute("UPDATE shop.items SET cost = 6.5 WHERE item_id = %s", (name,))
        yield name
        connection.execute("DELETE FROM shop.items WHERE item_id = %s", (name,))


def refreshed(stack: LiveStack) -> Lake:
    """The stack's lake with all that its shop has; its own runs may commit in between."""
    lake = open_lake(stack.settings("dagster"))
    for _ in range(10):
        try:
            capture(stack.settings("shop").postgres_dsn, lake)
            VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()
            return lake
        except CommitConflict:
            time.sleep(0.5)
    raise AssertionError("ten times another writer was first")


def test_the_versions_of_an_item_and_the_items_of_a_day_from_database_and_lake(stack: LiveStack, things: str):
    refreshed(stack)
    said = [stack.run("shop", "history", things, "--from", source).stdout for source in ("database", "lake")]
    assert said[0] == said[1]
    title, heading, *versions = said[0].strip().split("\n")
    assert title == f"{things}  [bold]Thing  Corvin"
    assert heading.split() == ["from", "until", "cost", "kg"]
    assert [line.split()[-2] for line in versions] == ["5.00", "6.50"]
    now = stack.run("shop", "as-of", "now", "--limit", "100000").stdout
    assert any(line.split()[:3] == [things, "6.50", "0.030"] for line in now.split("\n"))
    assert things not in stack.run("shop", "as-of", "2020-01-01").stdout
    assert stack.run("shop", "as-of", "2020-01-01", "--from", "lake").stdout.endswith(
        "0 items at 2020-01-01 00:00:00 UTC.\n"
    )
    with psycopg.connect(stack.settings("admin").postgres_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM shop.items WHERE item_id = %s", (things,))
    assert "It was removed; its versions stay." in stack.run("shop", "history", things).stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("as-of", "yesterday"), "a day (2025-06-30)"),
        (("as-of", "2025-06-30T12:00:00"), "no zone"),
        (("as-of", "2025-02-30"), "day is out of range"),
        (("history", "no-such-item"), "was never an item"),
        (("history", "film", "--from", "kafka"), "'database', 'lake'"),
    ],
    ids=" ".join,
)
def test_what_is_no_instant_and_no_item_is_said(stack: LiveStack, command: tuple[str, ...], said: str):
    done = stack.run("shop", *command, check=False)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_recapture_is_a_dry_run_unless_told(stack: LiveStack, things: str):
    lake = refreshed(stack)
    before = EventLog(lake, ITEM_EVENTS).generation
    planned = stack.run("shop", "recapture").stdout
    assert "would be replaced by" in planned
    assert EventLog(lake, ITEM_EVENTS).generation == before
    done = stack.run("shop", "recapture", "--yes")
    assert "were replaced by" in done.stdout
    assert EventLog(lake, ITEM_EVENTS).generation == before + 1
