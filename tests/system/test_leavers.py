"""Who leaves a group in the directory loses what it gave: by itself, at every point, sessions and all."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from access.policy import Policy
from resources.directory import Person
from resources.kafka_rights import KafkaRights
from resources.settings import Settings
from stack import access_keeper
from stack.errors import StackError
from stack.people import person_dsn, settle_people
from stack.service_names import KEEPER
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack


def test_the_stack_follows_the_directory_by_itself_and_a_leavers_session_ends(stack: LiveStack) -> None:
    rights = stack.settings("admin")
    with stack.person("analytics", "ml-engineers") as (name, _):
        eventually(lambda: can_log_in(stack, name))
        eventually(lambda: f"User:person:{name}" in principals(rights))
        session = psycopg.connect(person_dsn(stack.home, name), autocommit=True)
        assert session.execute("SELECT count(*) FROM items").fetchone() is not None
    with session:
        eventually(lambda: has_ended(session))
    eventually(lambda: f"User:person:{name}" not in principals(rights))
    assert not can_log_in(stack, name)


def test_a_directory_that_lost_most_people_takes_nobodys_login(stack: LiveStack) -> None:
    made = [f"p-many-{number}" for number in range(access_keeper.FEW + 2)]
    people = [Person(name, f"uid={name}", ("analytics",)) for name in made]
    with stack.without(KEEPER):
        settle_people(stack.home, people)
        try:
            with pytest.raises(access_keeper.TooManyLeave, match="Is it whole"):
                access_keeper.follow(stack.home)
            assert can_log_in(stack, made[0])
        finally:
            stack.run("access", "apply", "--yes")
        assert not can_log_in(stack, made[0])


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Within the minute in which a membership is to act."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.5)


def can_log_in(stack: LiveStack, name: str) -> bool:
    try:
        psycopg.connect(person_dsn(stack.home, name)).close()
    except (StackError, psycopg.OperationalError):
        return False
    return True


def has_ended(session: psycopg.Connection) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def principals(settings: Settings) -> set[str]:
    """Whom rules at Kafka are about."""
    return {change.rule.principal for change in KafkaRights(settings, Policy(identities={}), {}).plan()}
