"""Dagster's connections to PostgreSQL are kept, and one that PostgreSQL has closed is replaced before it is asked."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from dagster import DagsterInstance
from sqlalchemy import Engine, event

from stack.paths import Layout
from stack.state import DAGSTER_DATABASE, load_state, postgres_dsn
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack


@pytest.fixture
def instance(stack: LiveStack) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(Layout(stack.home).dagster)) as one:
        yield one


def pids(instance: DagsterInstance) -> list[int]:
    """Of PostgreSQL's processes that have answered, with each connection that was opened since."""
    found: list[int] = []

    def opened(connection: object, _: object) -> None:
        found.append(connection.info.backend_pid)  # type: ignore[attr-defined]

    for one in engines(instance):
        event.listen(one, "connect", opened)
    return found


def engines(instance: DagsterInstance) -> list[Engine]:
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    return [one._engine for one in storages]  # type: ignore[union-attr]


def ask(instance: DagsterInstance) -> None:
    instance.get_runs_count()
    instance.all_asset_keys()
    instance.get_daemon_heartbeats()
    instance.all_instigator_state()


def test_questions_share_a_connection_for_each_storage(instance: DagsterInstance) -> None:
    opened = pids(instance)
    for one in engines(instance):
        one.dispose()
    for _ in range(5):
        ask(instance)
    assert len(opened) == len(set(opened)) == 3


def test_instances_come_and_go_and_leave_no_connection_behind(stack: LiveStack) -> None:
    """Dagster makes one for each tick of a sensor."""
    with DagsterInstance.from_config(str(Layout(stack.home).dagster)) as first:
        ask(first)
        opened = pids(first)
    for _ in range(20):
        with DagsterInstance.from_config(str(Layout(stack.home).dagster)) as one:
            ask(one)
    assert opened == [], "each asked by the connections of the first"


def test_a_connection_that_postgresql_has_closed_is_not_asked(stack: LiveStack, instance: DagsterInstance) -> None:
    opened = pids(instance)
    for one in engines(instance):
        one.dispose()
    ask(instance)
    first = list(opened)
    layout = Layout(stack.home)
    dsn = postgres_dsn(layout, load_state(stack.home).ports["postgres"], "admin", DAGSTER_DATABASE)
    with psycopg.connect(dsn, autocommit=True) as admin:
        for pid in first:
            assert admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    ask(instance)
    assert len(first) == 3 and len(opened) == 6
