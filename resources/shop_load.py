"""Loads rows of the shop's tables: all or nothing, in one transaction, with an error for every row that cannot be.

Rows go by COPY into temporary tables with the line they stood on, are judged there by queries that name line and
column, and are then added by one INSERT a table. A load adds and never changes: rows that are there already are left
alone, so that a second load changes nothing; a row that contradicts one is a fault.

Versions of items with dates of the past are written into item_versions directly, which only its owner may (and the
superuser, as whom this runs). Every rule of the table holds there too: constraints, no overlap, nothing rewritten,
nothing of the future, and nothing in front of a version that an item already has. Other writers of items wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from resources.failures import PermanentFailure
from resources.shop import in_transaction
from transforms.shop_rows import FILES, ITEMS, MEMBER_CONTACTS, MEMBERS, SALES, SALES_DETAILS, Fault, Row, ShopFile

SHOWN = 20
Progress = Callable[[str, int], None]
"""Told the table and how many rows of it were taken since the last time."""

# Each gives line, column, what was found, what is valid; of the rows of one file, in the order of its lines.
_CHECKS: dict[str, tuple[LiteralString, ...]] = {
    "items": (
        """
        SELECT line, 'effective_date', item_id || ' from ' || effective_date,
               CASE WHEN end_before IS NULL AND end_date IS NULL
                    THEN 'one current row an item (line ' || line_before || ' has no end_date either)'
                    WHEN end_before IS NULL
                    THEN 'no version behind the current one of line ' || line_before
                    ELSE 'at or after ' || end_before || ', where the version of line ' || line_before || ' ends' END
        FROM (SELECT *, lag(line) OVER versions AS line_before, lag(end_date) OVER versions AS end_before,
                     lag(effective_date) OVER versions AS begun_before
              FROM loaded_items WINDOW versions AS (PARTITION BY item_id ORDER BY effective_date, line)) AS ordered
        WHERE begun_before < effective_date AND (end_before IS NULL OR end_before > effective_date)
        """,
        """
        SELECT line, 'end_date', end_date::text, 'after effective_date, or empty for the current version'
        FROM loaded_items WHERE end_date <= effective_date
        """,
        """
        SELECT line, 'effective_date', greatest(effective_date, end_date)::text, 'effective_date and end_date up to now'
        FROM loaded_items WHERE greatest(effective_date, end_date) > shop.instant()
        """,
        """
        SELECT line, 'effective_date', l.item_id || ' from ' || l.effective_date,
               CASE WHEN v.effective_date = l.effective_date
                    THEN 'what the database has of that version: history is never rewritten'
                    WHEN v.end_date IS NULL
                    THEN 'no version beside the current one since ' || v.effective_date
                         || ': change it through shop.items'
                    ELSE 'at or after ' || v.end_date || ': a load adds behind what the item has' END
        FROM loaded_items l JOIN LATERAL (
            SELECT * FROM shop.item_versions v WHERE v.item_id = l.item_id
              AND (v.effective_date = l.effective_date OR v.end_date IS NULL OR v.end_date > l.effective_date)
            ORDER BY v.effective_date = l.effective_date DESC, v.effective_date DESC LIMIT 1
        ) v ON (v.effective_date, v.name, v.manufacturer, v.cost, v.weight_kg, v.end_date)
            IS DISTINCT FROM (l.effective_date, l.name, l.manufacturer, l.cost, l.weight_kg, l.end_date)
        """,
    ),
    "members": (
        """
        SELECT line, 'since', l.since::text, p.since || ', as in the database'
        FROM loaded_members l JOIN shop.members p USING (membership_id) WHERE l.since <> p.since
        """,
    ),
    "member_contacts": (
        """
        SELECT line, 'membership_id', membership_id, 'a member of members.csv or of the database'
        FROM loaded_member_contacts WHERE membership_id NOT IN (SELECT membership_id FROM shop.members)
        """,
    ),
    "sales": (
        """
        SELECT line, 'membership_id', membership_id, 'a member of members.csv or of the database'
        FROM loaded_sales WHERE membership_id NOT IN (SELECT membership_id FROM shop.members)
        """,
        "SELECT line, 'sold_at', sold_at::text, 'a time up to now' FROM loaded_sales WHERE sold_at > shop.instant()",
        """
        SELECT line, 'sale_id', sale_id, 'the member and time that the database has of this sale'
        FROM loaded_sales l JOIN shop.sales p USING (sale_id)
        WHERE (l.membership_id, l.sold_at) IS DISTINCT FROM (p.membership_id, p.sold_at)
        """,
    ),
    "sales_details": (
        """
        SELECT line, 'sale_id', sale_id, 'a sale of sales.csv or of the database'
        FROM loaded_sales_details WHERE sale_id NOT IN (SELECT sale_id FROM shop.sales)
        """,
        """
        SELECT line, 'sold_at', l.sold_at::text, s.sold_at || ', the time of its sale, or empty'
        FROM loaded_sales_details l JOIN shop.sales s USING (sale_id) WHERE l.sold_at <> s.sold_at
        """,
        """
        SELECT line, 'item_id', l.item_id || ' at ' || s.sold_at,
               coalesce('an item that existed then; this one did from ' || string_agg(
                   v.effective_date || ' to ' || coalesce(v.end_date::text, 'now'), ', ' ORDER BY v.effective_date),
                   'an item of items.csv or of the database')
        FROM loaded_sales_details l JOIN shop.sales s USING (sale_id)
        LEFT JOIN shop.item_versions v ON v.item_id = l.item_id
        GROUP BY l.line, l.item_id, s.sold_at
        HAVING NOT coalesce(
            bool_or(v.effective_date <= s.sold_at AND (v.end_date IS NULL OR s.sold_at < v.end_date)), false)
        """,
        """
        SELECT line, 'quantity', l.quantity || coalesce(' at ' || l.price, ''),
               p.quantity || ' at ' || p.price || ', as in the database'
        FROM loaded_sales_details l JOIN shop.sales_details p USING (sale_id, item_id)
        WHERE l.quantity <> p.quantity OR l.price <> p.price
        """,
    ),
}
_TOTALS: LiteralString = """
SELECT line, CASE WHEN l.total_price <> s.total_price THEN 'total_price' ELSE 'total_weight_kg' END,
       CASE WHEN l.total_price <> s.total_price THEN l.total_price ELSE l.total_weight_kg END::text,
       CASE WHEN l.total_price <> s.total_price THEN s.total_price ELSE s.total_weight_kg END
           || ', which its details come to, or empty'
FROM loaded_sales l JOIN shop.sales s USING (sale_id)
WHERE l.total_price <> s.total_price OR l.total_weight_kg <> s.total_weight_kg
"""
_ADD: dict[str, LiteralString] = {
    "items": """
        INSERT INTO shop.item_versions (item_id, name, manufacturer, cost, weight_kg, effective_date, end_date)
        SELECT item_id, name, manufacturer, cost, weight_kg, effective_date, end_date FROM loaded_items l
        WHERE NOT EXISTS (SELECT FROM shop.item_versions v
                          WHERE v.item_id = l.item_id AND v.effective_date = l.effective_date)
        ORDER BY item_id, effective_date
        """,
    "members": """
        INSERT INTO shop.members (membership_id, status, since)
        SELECT membership_id, status, since FROM loaded_members ON CONFLICT DO NOTHING
        """,
    "member_contacts": """
        INSERT INTO shop.member_contacts (membership_id, name, email)
        SELECT membership_id, name, email FROM loaded_member_contacts ON CONFLICT DO NOTHING
        """,
    "sales": """
        INSERT INTO shop.sales (sale_id, membership_id, sold_at, status)
        SELECT sale_id, membership_id, sold_at, status FROM loaded_sales ON CONFLICT DO NOTHING
        """,
    "sales_details": """
        INSERT INTO shop.sales_details (sale_id, item_id, quantity, price, sold_at)
        SELECT sale_id, item_id, quantity, price, sold_at FROM loaded_sales_details
        ON CONFLICT (sale_id, item_id) DO NOTHING
        """,
}


class LoadRefused(PermanentFailure):
    """Rows that cannot be; nothing of the load was kept. `faults` has every one that was found."""

    def __init__(self, faults: list[Fault]) -> None:
        said = "\n".join(fault.sentence for fault in faults[:SHOWN])
        more = f"\nand {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        super().__init__(f"The load was refused, and nothing of it was kept:\n{said}{more}", {"faults": len(faults)})
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Loaded:
    """Rows given and rows added, by table; what was not added was there already."""

    given: Mapping[str, int]
    added: Mapping[str, int]


def load(
    dsn: str, tables: Mapping[str, Iterable[Row | Fault]], progress: Progress = lambda table, rows: None
) -> Loaded:
    """Add the rows of some of the shop's tables, all or nothing.

    Args:
        dsn: libpq connection string of the owner of schema shop, or of the superuser.
        tables: rows by table (transforms.shop_rows.FILES), as read_rows gives them; a fault among them refuses all.
        progress: told what was taken.

    Raises:
        LoadRefused: rows that cannot be, each with file, line, column, what was found and what is valid.
        ShopRefused: this login may not.
        ShopUnavailable: PostgreSQL is away.
    """
    # Read once, before the transaction: it may have to begin again.
    rows = {file.table: list(tables.get(file.table, ())) for file in FILES}
    faults = [one for file in FILES for one in rows[file.table] if isinstance(one, Fault)]
    if faults:
        raise LoadRefused(faults)
    good = {table: [one for one in given if isinstance(one, Row)] for table, given in rows.items()}
    return in_transaction(dsn, lambda connection: _load(connection, good, progress), tried="Loading the shop")


def _load(connection: psycopg.Connection, rows: Mapping[str, list[Row]], progress: Progress) -> Loaded:
    connection.execute("SET LOCAL statement_timeout = 0")
    connection.execute("SET LOCAL TimeZone = 'UTC'")
    for file in FILES:
        _stage(connection, file, rows[file.table], progress)
    added = {}
    # In the order in which one file's rows may name another's: each is judged against what is there by then.
    for together in ((ITEMS, MEMBERS), (MEMBER_CONTACTS, SALES), (SALES_DETAILS,)):
        faults = [fault for file in together for fault in _judge(connection, file)]
        if faults:
            raise LoadRefused(faults)
        for file in together:
            added[file.table] = connection.execute(_ADD[file.table]).rowcount
    faults = [Fault(SALES.name, *found) for found in connection.execute(_TOTALS)]
    if faults:
        raise LoadRefused(faults)
    for file in FILES:
        connection.execute(sql.SQL("DROP TABLE {}").format(_staged(file)))
    return Loaded({table: len(given) for table, given in rows.items()}, added)


def _stage(connection: psycopg.Connection, file: ShopFile, rows: list[Row], progress: Progress) -> None:
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.Identifier("pg_catalog", _TYPES[column.kind]))
        for column in file.columns
    )
    table = _staged(file)
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} (line integer, {}) ON COMMIT DROP").format(table, columns))
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for start in range(0, len(rows), 1000):
            chunk = rows[start : start + 1000]
            for row in chunk:
                copy.write_row((row.line, *row.values))
            progress(file.table, len(chunk))
    # Without it the planner takes every table for a small one.
    connection.execute(sql.SQL("ANALYZE {}").format(table))


_TYPES = {"text": "text", "numeric": "numeric", "integer": "int4", "timestamptz": "timestamptz", "date": "date"}


def _staged(file: ShopFile) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"loaded_{file.table}")


def _judge(connection: psycopg.Connection, file: ShopFile) -> Iterable[Fault]:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in file.key)
    doubled = sql.SQL(
        "SELECT line, {column}, concat_ws(' ', {names}), 'each once; line ' || first || ' has it too' FROM ("
        "SELECT *, min(line) OVER (PARTITION BY {names}) AS first FROM {table}) AS counted WHERE line <> first"
    ).format(column=sql.Literal(file.key[0]), names=names, table=_staged(file))
    found = list(connection.execute(doubled))
    for check in _CHECKS[file.table]:
        found += connection.execute(check)
    return [Fault(file.name, *one) for one in sorted(found)]
