"""Everything that a database holds, for tests that look for what should not be in it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.live_stack import LiveStack

_TABLES = """SELECT schemaname, tablename FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""


def dumped(stack: LiveStack, database: str) -> Iterator[tuple[str, bytes]]:
    """Each table's name and all of its rows, as COPY writes them."""
    with psycopg.connect(make_conninfo(stack.settings("admin").postgres_dsn, dbname=database)) as connection:
        for schema, table in connection.execute(_TABLES).fetchall():
            copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, table))
            with connection.cursor().copy(copy) as rows:
                yield f"{schema}.{table}", b"".join(bytes(part) for part in rows)
