"""The projection and its migrations on the stack's PostgreSQL: forward only, rights per role, safe to run again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from resources.postgres import ImageStatus, MigrationFailed, StatusRow, StatusUnavailable, upgrade
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack

DAY = date(2020, 2, 29)
ID = "projectiontest" + "a" * 12


@pytest.fixture
def status(stack: LiveStack) -> Iterator[ImageStatus]:
    with ImageStatus(stack.settings("dagster").postgres_dsn) as repository:
        yield repository
    with psycopg.connect(stack.settings("upkeep").postgres_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM images.image_status WHERE day = %s", (DAY,))


def row(state: str, reason: str | None = None, id: str = ID) -> StatusRow:
    return StatusRow(id, DAY, "pseudonym", state, reason)


def test_a_state_only_moves_forward_and_a_replay_rescues(status: ImageStatus) -> None:
    seen = []
    for given in (
        row("landed"),
        row("accepted"),
        row("quarantined", "corrupt"),
        row("landed"),
        row("quarantined", "truncated"),
        row("processed"),
        row("quarantined", "corrupt"),
    ):
        status.put_many([given])
        found = status.get(ID)
        assert found is not None
        seen.append((found.state, found.reason))
    assert seen == [
        ("landed", None),
        ("landed", None),
        ("quarantined", "corrupt"),
        ("quarantined", "corrupt"),
        ("quarantined", "truncated"),
        ("processed", None),
        ("processed", None),
    ]


def test_days_that_are_over_are_forgotten_but_those_kept_and_whoever_is_held(
    stack: LiveStack, status: ImageStatus
) -> None:
    before, kept = date(2020, 2, 27), date(2020, 2, 28)
    given = [
        StatusRow("gone" + "a" * 22, before, "someone", "landed"),
        StatusRow("held" + "a" * 22, before, "held", "landed"),
        StatusRow("kept" + "a" * 22, kept, "someone", "landed"),
        StatusRow("live" + "a" * 22, DAY, "someone", "landed"),
    ]
    status.put_many(given)
    with ImageStatus(stack.settings("upkeep").postgres_dsn) as upkeep:
        assert upkeep.forget(kept, [kept], [(before, "held")]) == 1
        assert [status.get(one.id) is None for one in given] == [True, False, False, False]
        assert upkeep.forget(kept, []) == 2
    assert [status.get(one.id) is None for one in given] == [True, True, True, False]


def test_a_late_writer_does_not_even_move_the_time(status: ImageStatus) -> None:
    status.put_many([row("processed")])
    before = status.get(ID)
    status.put_many([row("accepted")])
    assert status.get(ID) == before
    assert before is not None
    assert before.updated_at is not None
    assert before.updated_at.utcoffset() is not None


def test_writers_at_once_neither_deadlock_nor_lose_the_furthest_state(status: ImageStatus) -> None:
    ids = [f"{number:026}" for number in range(50)]

    def write(state: str, order: list[str]) -> None:
        for _ in range(5):
            status.put_many([row(state, id=id) for id in order])

    writers = [
        threading.Thread(target=write, args=("accepted", ids)),
        threading.Thread(target=write, args=("landed", ids[::-1])),
        threading.Thread(target=write, args=("processed", ids)),
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = [status.get(id) for id in ids]
    assert {one.state for one in found if one is not None} == {"processed"}
    assert None not in found


def test_the_door_may_not_delete_and_the_operator_may_only_read(stack: LiveStack, status: ImageStatus) -> None:
    status.put_many([row("landed")])
    forbidden = {
        "uploads": ["DELETE FROM images.image_status", "DROP TABLE images.image_status"],
        "operator": ["DELETE FROM images.image_status", "UPDATE images.image_status SET state = 'landed'"],
    }
    for identity, statements in forbidden.items():
        with psycopg.connect(stack.settings(identity).postgres_dsn, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM images.image_status").fetchone() is not None
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_who_may_not_migrate_is_told_where_and_why(stack: LiveStack) -> None:
    dsn = stack.settings("operator").postgres_dsn
    with pytest.raises(MigrationFailed, match=r"schema images .* permission denied.* Nothing was changed"):
        upgrade(dsn)
    with pytest.raises(MigrationFailed, match="Valid ones: images, shop"):
        upgrade(dsn, ["bakery"])


def test_a_server_that_is_away_is_a_transient_failure_that_names_its_address(stack: LiveStack) -> None:
    dsn = psycopg.conninfo.make_conninfo(
        stack.settings("uploads").postgres_dsn, host="127.0.0.1", hostaddr="", port="1"
    )
    with ImageStatus(dsn, timeout_seconds=1) as repository, pytest.raises(StatusUnavailable, match="port 1"):
        repository.get(ID)
