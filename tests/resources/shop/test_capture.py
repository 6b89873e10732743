"""Every change of an item is an event exactly once: in any order of commits, killed anywhere, from one database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import sql
from psycopg.conninfo import make_conninfo

from resources.event_log import EventLog, open_log
from resources.lake import CommitConflict, Lake
from resources.shop import ShopRefused, in_transaction
from resources.shop_capture import ChangesLost, capture, recapture, waiting
from resources.shop_reading import item_versions, snapshot
from resources.version_table import VersionTable
from tests.live_stack import LiveStack
from tests.resources.shop.conftest import database
from tests.resources.shop.shelves import add_item
from transforms.scd2 import fold
from transforms.shop_changes import KEY, events_of_versions
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

pytestmark = pytest.mark.stack


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def reader(shop: str, stack: LiveStack) -> str:
    """The shop's database, as the login of the shop's assets."""
    name = psycopg.conninfo.conninfo_to_dict(shop)["dbname"]
    return make_conninfo(stack.settings("shop").postgres_dsn, dbname=name)


def events(lake: Lake) -> pl.DataFrame:
    return EventLog(lake, ITEM_EVENTS).read()


def told(lake: Lake) -> list[tuple]:
    return [(*one[:2], None if one[2] is None else str(one[2])) for one in events(lake)["item_id", "op", "cost"].rows()]


def as_postgres_has_it(dsn: str, lake: Lake) -> None:
    """The log folds to the database's versions, and begins each of them once."""
    with snapshot(dsn, "test") as connection:
        versions = item_versions(connection)
    wanted = fold(events_of_versions(versions).drop("transaction", "change_id", "changed_at"), KEY)
    found = events(lake)
    assert_frame_equal(fold(found.select("item_id", *wanted.columns[1:5], "op", "ts", "seq"), KEY), wanted)
    begun = Counter(found.filter(pl.col("op") == "upsert").select("item_id", "ts").rows())
    assert begun == Counter(versions.select("item_id", "effective_date").rows())
    assert found["arrival"].to_list() == list(range(found.height))


def reprice(connection: psycopg.Connection, cost: str, item: str = "film") -> None:
    connection.execute("UPDATE shop.items SET cost = %s WHERE item_id = %s", (cost, item))


def test_every_change_is_an_event_once_and_in_order(connection: psycopg.Connection, reader: str, lake: Lake):
    add_item(connection)
    reprice(connection, "6.00")
    assert capture(reader, lake).events == 2
    with connection.transaction():
        reprice(connection, "7.00")
        reprice(connection, "8.00")
        connection.execute("DELETE FROM shop.items WHERE item_id = 'film'")
        add_item(connection, cost="9.00")
    connection.execute("DELETE FROM shop.items WHERE item_id = 'film'")
    capture(reader, lake)
    assert told(lake) == [
        ("film", "upsert", "5.00"),
        ("film", "upsert", "6.00"),
        ("film", "upsert", "7.00"),
        ("film", "upsert", "8.00"),
        ("film", "delete", None),
        ("film", "upsert", "9.00"),
        ("film", "delete", None),
    ]
    as_postgres_has_it(reader, lake)
    version = lake.open(ITEM_EVENTS.name).version()
    assert capture(reader, lake).events == 0
    assert lake.open(ITEM_EVENTS.name).version() == version


def test_what_a_later_transaction_committed_earlier_waits_for_the_open_one_and_nothing_is_passed_over(
    connection: psycopg.Connection, shop: str, reader: str, lake: Lake
):
    """Bug prevented: going by the newest number passes over what was numbered first and committed last."""
    with psycopg.connect(shop) as slow:
        add_item(slow, "slow")
        add_item(connection, "quick")
        done = capture(reader, lake)
        assert (done.events, done.held_back) == (0, 1)
        assert done.held_back_since is not None
        seen = waiting(reader, lake)
        assert (seen.ready, seen.held_back) == (0, 1)
    assert waiting(reader, lake).ready == 2
    assert capture(reader, lake).events == 2
    assert capture(reader, lake).events == 0
    as_postgres_has_it(reader, lake)


def test_a_transaction_that_was_rolled_back_is_no_event(connection: psycopg.Connection, reader: str, lake: Lake):
    add_item(connection)
    with pytest.raises(ZeroDivisionError), connection.transaction():
        reprice(connection, "6.00")
        raise ZeroDivisionError
    assert capture(reader, lake).events == 1
    as_postgres_has_it(reader, lake)


def test_a_backlog_is_taken_in_several_commits_of_whole_transactions(
    connection: psycopg.Connection, reader: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("resources.shop_capture.COMMIT_CHANGES", 3)
    for number in range(5):
        with connection.transaction():
            add_item(connection, f"a{number}")
            add_item(connection, f"b{number}")
    steps: list[tuple[int, int]] = []
    done = capture(reader, lake, lambda changes, events: steps.append((changes, events)))
    assert steps == [(4, 4), (4, 4), (2, 2)]
    assert (done.changes, done.commits) == (10, 3)
    as_postgres_has_it(reader, lake)


def test_eighty_changes_of_one_item_at_once_are_eighty_events(
    connection: psycopg.Connection, shop: str, reader: str, lake: Lake
):
    add_item(connection, cost="0.00")

    def raise_cost() -> None:
        for _ in range(10):
            in_transaction(
                shop, lambda own: own.execute("UPDATE shop.items SET cost = cost + 1 WHERE item_id = 'film'")
            )

    writers = [threading.Thread(target=raise_cost) for _ in range(8)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        capture(reader, lake)
    for writer in writers:
        writer.join()
    capture(reader, lake)
    costs = events(lake).filter(pl.col("op") == "upsert").sort("ts")["cost"].to_list()
    assert [int(cost) for cost in costs] == list(range(81))
    as_postgres_has_it(reader, lake)


KILLED = """
import os, signal, sys
from resources.lake import Lake
from resources.lake_commits import Commits
from resources.shop_capture import capture
real = Commits._put
def put(*arguments):
    if sys.argv[3] == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
Commits._put = put
capture(sys.argv[1], Lake(sys.argv[2]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_beside_its_commit_every_change_is_an_event_once(
    connection: psycopg.Connection, reader: str, lake: Lake, when: str
):
    """kill -9 between the data file and the commit, and between the commit and the end."""
    for number in range(20):
        add_item(connection, f"item-{number}")
    open_log(lake, ITEM_EVENTS)
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), reader, lake.root, when], cwd=os.getcwd(), timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(Path(lake.uri(ITEM_EVENTS.name)).glob("*.parquet"))
    assert capture(reader, lake).events == (20 if when == "before" else 0)
    as_postgres_has_it(reader, lake)


def test_of_two_captures_at_once_one_conflicts_and_nothing_stands_twice(
    connection: psycopg.Connection, reader: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
):
    add_item(connection)
    real = Lake.append

    def disturbed(self: Lake, *arguments, **more) -> int:
        monkeypatch.setattr(Lake, "append", real)
        capture(reader, lake)
        return real(self, *arguments, **more)

    monkeypatch.setattr(Lake, "append", disturbed)
    with pytest.raises(CommitConflict):
        capture(reader, lake)
    assert capture(reader, lake).events == 0
    as_postgres_has_it(reader, lake)


def test_another_database_is_refused_and_recapture_begins_anew(
    connection: psycopg.Connection, reader: str, lake: Lake, admin: str
):
    from access.policy import load_policy
    from resources.postgres import upgrade
    from resources.postgres_roles import PostgresRoles

    add_item(connection)
    add_item(connection, "only-there")
    capture(reader, lake)
    VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()
    with database(admin) as other:
        upgrade(other)
        PostgresRoles(other, load_policy()).apply()
        with psycopg.connect(other, autocommit=True) as own:
            add_item(own, cost="6.00")
            reprice(own, "7.00")
        for ask in (capture, waiting):
            with pytest.raises(ChangesLost, match=r"filled from another.*darkroom shop recapture"):
                ask(other, lake)
        assert events(lake).height == 2
        planned = recapture(other, lake)
        assert (planned.events_before, planned.events_after, planned.done) == (2, 2, False)
        assert events(lake)["item_id"].to_list() == ["film", "only-there"]
        assert recapture(other, lake, apply=True).done
        assert capture(other, lake).events == 0
        with psycopg.connect(other, autocommit=True) as own:
            reprice(own, "8.00")
        assert capture(other, lake).events == 1
        assert VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh().rebuilt
        found = pl.scan_delta(lake.open(DIM_ITEM.name)).collect().sort("effective_date")
        assert [str(cost) for cost in found["cost"]] == ["6.00", "7.00", "8.00"]


def test_a_database_that_was_restored_to_an_earlier_state_is_refused(
    connection: psycopg.Connection, shop: str, reader: str, lake: Lake, admin: str, stack: LiveStack
):
    """A copy stands in for the backup: it has the same record, and not the last change."""
    add_item(connection)
    connection.close()
    backup = psycopg.conninfo.conninfo_to_dict(shop)["dbname"]
    with database(admin, str(backup)) as restored:
        with psycopg.connect(shop, autocommit=True) as own:
            reprice(own, "6.00")
        assert capture(reader, lake).events == 2
        with psycopg.connect(restored, autocommit=True) as own:
            reprice(own, "7.00")
        with pytest.raises(ChangesLost, match=r"last change, number \d+ .* is not in the database's record"):
            capture(restored, lake)
    assert [cost for *_, cost in told(lake)] == ["5.00", "6.00"]


def test_a_server_whose_transactions_begin_again_is_refused(connection: psycopg.Connection, reader: str, lake: Lake):
    add_item(connection)
    with snapshot(reader, "test") as own:
        from resources.shop_reading import record

        now = record(own)
    log = open_log(lake, ITEM_EVENTS)
    log.append(events_of_nothing(), {f"item_events-record-{now.id}": now.ahead + 1_000_000})
    with pytest.raises(ChangesLost, match="the database is at"):
        capture(reader, lake)


def events_of_nothing() -> pl.DataFrame:
    kinds = pl.DataFrame(ITEM_EVENTS.schema.empty_table()).drop("arrival").schema
    now = pl.lit("2026-03-01T00:00:00Z").str.to_datetime("%+", time_unit="us")
    one = pl.DataFrame([{"item_id": "x", "op": "delete"}], schema=kinds)
    return one.with_columns(ts=now, captured_at=now)


def test_the_reader_sees_changes_of_items_and_neither_logins_nor_other_rows(
    connection: psycopg.Connection, reader: str
):
    connection.execute("INSERT INTO shop.members VALUES ('ada', 'active', '2024-01-01')")
    connection.execute("INSERT INTO shop.member_contacts VALUES ('ada', 'Ada Amsel', 'ada@example.org')")
    add_item(connection)
    with psycopg.connect(reader, autocommit=True) as own:
        assert "Ada" not in str(own.execute("SELECT * FROM shop.item_changes").fetchall())
        marks = own.execute("SELECT table_name FROM shop.change_marks ORDER BY change_id").fetchall()
        assert marks == [("members",), ("member_contacts",), ("item_versions",)]
        for refused in ("SELECT * FROM shop.changes", "SELECT * FROM shop.member_contacts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(refused)
    columns = {one.name for one in connection.execute("SELECT * FROM shop.item_changes").description or ()}
    assert "changed_by" not in columns


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO shop.change_record DEFAULT VALUES",
        "UPDATE shop.change_record SET record_id = gen_random_uuid()",
        "DELETE FROM shop.change_record",
        "TRUNCATE shop.change_record",
    ],
)
def test_the_record_keeps_its_identity(connection: psycopg.Connection, statement: str):
    with pytest.raises(psycopg.Error, match="refuses"):
        connection.execute(sql.SQL(statement))


def test_a_login_without_the_right_is_told_so(connection: psycopg.Connection, stack: LiveStack, shop: str, lake: Lake):
    name = psycopg.conninfo.conninfo_to_dict(shop)["dbname"]
    with pytest.raises(ShopRefused, match="Capturing changes of items was refused"):
        capture(make_conninfo(stack.settings("operator").postgres_dsn, dbname=name), lake)
