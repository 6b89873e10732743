"""Reads of the shop's database as frames: one snapshot for several questions, values exact.

Rows come by COPY as CSV and are parsed by polars into the types asked for, decimals among them; a driver that makes a
Python object of every value takes ten times the processor time. Everything read within one `snapshot` is of one
instant.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import polars as pl
import psycopg
from psycopg import sql

from resources.shop import shop_errors
from transforms.shop import DETAILS
from transforms.shop_changes import CHANGES, VERSIONS

SOURCES = {"items": "item_versions", "members": "members", "sales": "sales", "sales_details": "sales_details"}
"""The tables that people know, and the one whose changes are recorded for each."""


@dataclass(frozen=True)
class Record:
    """Where the database's record of changes stands, as this snapshot sees it.

    Every transaction below `settled` has ended, so that nothing more can come from it; from `settled` on, some may
    still be under way. `ahead` is the first number that no transaction has.
    """

    id: UUID
    settled: int
    ahead: int


@contextmanager
def snapshot(dsn: str, tried: str) -> Iterator[psycopg.Connection]:
    """A connection that sees one instant, and changes nothing.

    Raises:
        ShopRefused, ShopUnavailable: as `resources.shop.shop_errors` says.
    """
    with shop_errors(tried), psycopg.connect(dsn, options="-c TimeZone=UTC") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            yield connection


def read_frame(
    connection: psycopg.Connection, query: sql.Composable | LiteralString, schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The rows of a SELECT, its columns taken by name.

    Args:
        query: gives at least the columns of `schema`; times with a zone.
        schema: the type of each column. An empty text comes back as null.
    """
    chosen = sql.SQL(", ").join(_as_text(name, kind) for name, kind in schema.items())
    inner = query if isinstance(query, sql.Composable) else sql.SQL(query)
    statement = sql.SQL("COPY (SELECT {} FROM ({}) AS asked) TO STDOUT (FORMAT csv)").format(chosen, inner)
    body = io.BytesIO()
    with connection.cursor().copy(statement) as rows:
        for block in rows:
            body.write(block)
    if not body.tell():
        return pl.DataFrame(schema=dict(schema))
    read = {name: pl.Int64() if isinstance(kind, pl.Datetime) else kind for name, kind in schema.items()}
    body.seek(0)
    frame = pl.read_csv(body, has_header=False, schema=read)
    return frame.with_columns(
        pl.from_epoch(name, "us").dt.replace_time_zone("UTC")
        for name, kind in schema.items()
        if isinstance(kind, pl.Datetime)
    )


def record(connection: psycopg.Connection) -> Record:
    """Where the record of changes stands."""
    found = connection.execute(
        "SELECT record_id, pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint"
        " FROM shop.change_record, pg_current_snapshot() AS now"
    ).fetchone()
    if found is None:  # its triggers refuse that
        raise LookupError("shop.change_record has no row")
    return Record(*found)


def item_changes(connection: psycopg.Connection, at: int, below: int) -> pl.DataFrame:
    """Changes of items by transactions from `at` to below `below`: columns of `CHANGES`, in their order."""
    query = sql.SQL(
        "SELECT * FROM shop.item_changes WHERE transaction >= {}::xid8 AND transaction < {}::xid8"
        " ORDER BY transaction, change_id"
    ).format(sql.Literal(str(at)), sql.Literal(str(below)))
    return read_frame(connection, query, CHANGES)


def item_versions(connection: psycopg.Connection) -> pl.DataFrame:
    """All versions of all items: columns of `VERSIONS`."""
    return read_frame(connection, "SELECT * FROM shop.item_versions", VERSIONS)


def sold_details(connection: psycopg.Connection) -> pl.DataFrame:
    """Every detail of every sale: columns of `DETAILS`."""
    query = "SELECT * FROM shop.sales_details JOIN shop.sales USING (sale_id, sold_at)"
    return read_frame(connection, query, DETAILS)


def counts(connection: psycopg.Connection) -> dict[str, tuple[int, str]]:
    """Rows of each of the four tables, and a text that changes with every recorded change of the table."""
    rows = {
        name: connection.execute(sql.SQL("SELECT count(*) FROM shop.{}").format(sql.Identifier(name))).fetchone()
        for name in SOURCES
    }
    marks = dict(
        connection.execute(
            "SELECT DISTINCT ON (table_name) table_name, transaction || '-' || change_id FROM shop.change_marks"
            " ORDER BY table_name, transaction DESC, change_id DESC"
        ).fetchall()
    )
    return {name: (found[0] if (found := rows[name]) else 0, marks.get(table, "0")) for name, table in SOURCES.items()}


def changes_since(
    connection: psycopg.Connection, at: int, tables: tuple[str, ...] = ("item_versions",)
) -> tuple[int, datetime | None]:
    """How many changes of these tables transactions from `at` on have made, and when the first of them was."""
    found = connection.execute(
        "SELECT count(*), min(changed_at) FROM shop.change_marks"
        " WHERE table_name = ANY(%s) AND transaction >= %s::text::xid8",
        (list(tables), str(at)),
    ).fetchone()
    return (0, None) if found is None else found


def _as_text(name: str, kind: pl.DataType) -> sql.Composable:
    column = sql.Identifier(name)
    if isinstance(kind, pl.Datetime):
        # Whole microseconds since 1970: exact, and quicker to parse than a date.
        return sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(column)
    if name == "transaction":  # xid8 has no cast to a number
        return sql.SQL("{}::text::bigint").format(column)
    return column
