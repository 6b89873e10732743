"""Shops of their own: each a database on the stack's PostgreSQL, copied from one that the migrations made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from access.policy import load_policy
from resources.postgres import upgrade
from resources.postgres_roles import PostgresRoles
from tests.live_stack import LiveStack

Member = Callable[[str], None]


@contextmanager
def database(admin: str, template: str = "template1") -> Iterator[str]:
    """A database for a while; gives the superuser's connection string."""
    name = f"shop_test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(create)
    try:
        yield make_conninfo(admin, dbname=name)
    finally:
        # Connected anew: other tests kill the server meanwhile.
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def admin(stack: LiveStack) -> str:
    return stack.settings("admin").postgres_dsn


@pytest.fixture(scope="package")
def template(admin: str) -> Iterator[str]:
    """A shop as `up` makes it, to copy."""
    with database(admin) as dsn:
        upgrade(dsn)
        PostgresRoles(dsn, load_policy()).apply()
        yield psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]


@pytest.fixture
def shop(admin: str, template: str) -> Iterator[str]:
    """The superuser's connection string of an empty shop."""
    with database(admin, template) as dsn:
        yield dsn


@pytest.fixture
def connection(shop: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shop, autocommit=True) as connection:
        yield connection
