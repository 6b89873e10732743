"""Person and service by table, topic and verb, generated from the policy and asked of the running servers themselves.

Each group has a person of the directory, with the login and the rules that the stack gave them; each service has its
certificate. PostgreSQL checks the rights of a statement that it only explains; Kafka tells a client what it may do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from psycopg import sql

from access.explain import ALL, Grant, grants
from access.policy import load_policy
from resources.kafka import client_config
from resources.topics import topic_settings
from stack.errors import StackError
from stack.people import person_dsn
from stack.state import IDENTITIES
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack

POLICY = load_policy()
NOBODY = "nobody"
"""Somebody of the directory who is in no group."""
PEOPLE = [*POLICY.groups, NOBODY]
SERVICES = [name for name in POLICY.identities if name in IDENTITIES]
LOGINS = [*PEOPLE, *(name for name in SERVICES if name != "admin")]
"""`admin` is PostgreSQL's superuser, as whom all rights are made."""
SCHEMAS = ["images", "shop", "signin"]
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")
TOPIC_VERBS = {"READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"}
IMPLIED = {
    "READ": {"DESCRIBE"},
    "WRITE": {"DESCRIBE"},
    "DELETE": {"DESCRIBE"},
    "ALTER": {"DESCRIBE"},
    "ALTER_CONFIGS": {"DESCRIBE_CONFIGS"},
}
"""What Kafka gives with an operation (StandardAuthorizer)."""


@pytest.fixture(scope="module")
def names(stack: LiveStack) -> Iterator[dict[str, str]]:
    """The name of each group's person, who has what follows from it."""
    with ExitStack() as opened:
        made = {who: opened.enter_context(stack.person(*([who] if who != NOBODY else [])))[0] for who in PEOPLE}
        stack.run("access", "apply", "--yes")
        yield made


@pytest.fixture(scope="module")
def given(stack: LiveStack) -> list[Grant]:
    """What the policy gives."""
    return grants(POLICY, topic_settings(stack.settings()))


# ---------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def columns(stack: LiveStack) -> dict[str, list[str]]:
    """Every table of the platform, with its columns."""
    query = """SELECT n.nspname || '.' || c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = '' AND a.attidentity <> 'a' GROUP BY 1"""
    with psycopg.connect(stack.settings("admin").postgres_dsn) as connection:
        return dict(connection.execute(query, [SCHEMAS]).fetchall())


def may_do(connection: psycopg.Connection, table: str, column: str) -> set[str]:
    """The verbs that PostgreSQL would do for this session on a column of a table."""
    place, name = sql.SQL(".").join(map(sql.Identifier, table.split("."))), sql.Identifier(column)
    statements = {
        "SELECT": sql.SQL("EXPLAIN SELECT {1} FROM {0}"),
        "INSERT": sql.SQL("EXPLAIN INSERT INTO {0} ({1}) VALUES (DEFAULT)"),
        "UPDATE": sql.SQL("EXPLAIN UPDATE {0} SET {1} = DEFAULT"),
        "DELETE": sql.SQL("EXPLAIN DELETE FROM {0}"),
    }
    found = set()
    for verb, statement in statements.items():
        try:
            connection.execute(statement.format(place, name))
        except psycopg.errors.InsufficientPrivilege:
            continue
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.GeneratedAlways):
            # A view that cannot be written to at all: whether somebody might is only written down.
            query = "SELECT has_table_privilege(%s, %s)"
            if connection.execute(query, [table, verb]).fetchone() != (True,):
                continue
        found.add(verb)
    return found


def by_the_policy(given: list[Grant], holder: str, table: str, column: str) -> set[str]:
    return {
        grant.verb
        for grant in given
        if (grant.holder, grant.point, grant.name) == (holder, "postgres", table) and grant.column in ("", column)
    }


@pytest.mark.parametrize("who", LOGINS)
def test_a_login_does_to_each_column_what_the_policy_gives_and_no_more(
    stack: LiveStack, names: dict[str, str], columns: dict[str, list[str]], given: list[Grant], who: str
) -> None:
    holds = any(grant.holder == who and grant.point == "postgres" for grant in given)
    try:
        dsn = person_dsn(stack.home, names[who]) if who in names else stack.settings(who).postgres_dsn
        connection = psycopg.connect(dsn, autocommit=True)
    except (StackError, psycopg.OperationalError):
        assert not holds
        return
    with connection:
        found = {
            (table, column): verbs
            for table, of in columns.items()
            for column in of
            if (verbs := may_do(connection, table, column))
        }
    expected = {
        (table, column): verbs
        for table, of in columns.items()
        for column in of
        if (verbs := by_the_policy(given, who, table, column) & set(VERBS))
    }
    assert holds
    assert found == expected


# ---------------------------------------------------------------------------------------------------------- Kafka


@pytest.fixture(scope="module")
def clients(stack: LiveStack, names: dict[str, str]) -> Mapping[str, AdminClient]:
    """A client of each person, by a token, and of each service, by its certificate."""
    people = stack.status()["kafka"]["people"]
    found = {}
    for who in PEOPLE:
        token = stack.token(names[who], [who] if who != NOBODY else [])
        found[who] = AdminClient({**people, "oauth_cb": lambda _, token=token: (token, time.time() + 3600)})
        found[who].poll(0)
    for who in SERVICES:
        found[who] = AdminClient(client_config(stack.settings(who)))
    return found


def allowed(described: Any) -> set[str]:
    """The operations that the broker says this client may do."""
    try:
        return {one.name for one in described.result().authorized_operations or ()}
    except KafkaException as error:
        assert "AUTHORIZATION_FAILED" in error.args[0].name(), error
        return set()


def expected_of(given: list[Grant], who: str, kind: str, name: str) -> set[str]:
    """The operations that the policy gives, and what goes with them; everything for a super user."""
    verbs = {
        grant.verb
        for grant in given
        if (grant.holder, grant.point, grant.kind) == (who, "kafka", kind) and grant.covers(name)
    }
    if ALL in verbs:
        return TOPIC_VERBS if kind == "topic" else {"READ", "DESCRIBE", "DELETE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"}
    return verbs | {implied for verb in verbs for implied in IMPLIED.get(verb, ())}


@pytest.mark.parametrize("who", [*PEOPLE, *SERVICES])
def test_a_client_of_kafka_does_what_the_policy_gives_and_no_more(
    stack: LiveStack, clients: Mapping[str, AdminClient], given: list[Grant], who: str
) -> None:
    client, topics = clients[who], list(topic_settings(stack.settings()).values())
    described = client.describe_topics(TopicCollection(topics), include_authorized_operations=True, request_timeout=10)
    for topic in topics:
        assert allowed(described[topic]) == expected_of(given, who, "topic", topic), topic
    groups = ["darkroom-landing", "recogniser", "ml-engineers-trial", "somebody-elses"]
    of_groups = client.describe_consumer_groups(groups, include_authorized_operations=True, request_timeout=10)
    for group in groups:
        assert allowed(of_groups[group]) == expected_of(given, who, "consumer group", group), group
    of_cluster = client.describe_cluster(include_authorized_operations=True, request_timeout=10)
    describes = "DESCRIBE" in allowed(of_cluster)
    super_user = POLICY.identities[who].kafka_super_user if who in POLICY.identities else False
    assert describes is (super_user or "DESCRIBE" in expected_of(given, who, "cluster", "kafka-cluster"))
