"""Dagster's connections to PostgreSQL are kept, and one that PostgreSQL has closed is replaced before it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
from dagster import DagsterInstance
from sqlalchemy import event

from stack.dagster_storage import PooledPostgresStorage
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
    storage, found = instance._storage, []
    assert isinstance(storage, PooledPostgresStorage)

    def opened(connection: object, _: object) -> None:
        found.append(connection.info.backend_pid)  # type: ignore[attr-defined]

    for one in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
        event.listen(one._engine, "connect", opened)
    return found


def ask(instance: DagsterInstance) -> None:
    instance.get_runs_count()
    instance.all_asset_keys()
    instance.get_daemon_heartbeats()
    instance.all_instigator_state()


def test_questions_share_a_connection_for_each_storage(instance: DagsterInstance) -> None:
    opened = pids(instance)
    for _ in range(5):
        ask(instance)
    assert 1 <= len(opened) <= 3, Counter(opened)


def test_a_connection_that_postgresql_has_closed_is_not_asked(stack: LiveStack, instance: DagsterInstance) -> None:
    opened = pids(instance)
    ask(instance)
    first = list(opened)
    layout = Layout(stack.home)
    dsn = postgres_dsn(layout, load_state(stack.home).ports["postgres"], "admin", DAGSTER_DATABASE)
    with psycopg.connect(dsn, autocommit=True) as admin:
        for pid in first:
            assert admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    ask(instance)
    assert len(opened) == 2 * len(first)
