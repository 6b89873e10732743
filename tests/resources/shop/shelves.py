"""What the tests put into a shop."""

from __future__ import annotations

import psycopg

VERSIONS = "SELECT * FROM shop.item_versions WHERE item_id = %s ORDER BY effective_date"


def add_item(connection: psycopg.Connection, item: str = "film", cost: str = "5.00", weight: str = "0.030") -> None:
    connection.execute("INSERT INTO shop.items VALUES (%s, 'Film', 'Corvin', %s, %s)", (item, cost, weight))


def add_sale(connection: psycopg.Connection, sale: str = "one", member: str = "ada") -> None:
    connection.execute("INSERT INTO shop.members VALUES (%s, 'active', '2024-01-01') ON CONFLICT DO NOTHING", (member,))
    connection.execute("INSERT INTO shop.sales (sale_id, membership_id) VALUES (%s, %s)", (sale, member))


def add_detail(connection: psycopg.Connection, item: str = "film", quantity: int = 1, sale: str = "one") -> None:
    connection.execute(
        "INSERT INTO shop.sales_details (sale_id, item_id, quantity) VALUES (%s, %s, %s)", (sale, item, quantity)
    )


def versions(connection: psycopg.Connection, item: str = "film") -> list[dict]:
    return connection.cursor(row_factory=psycopg.rows.dict_row).execute(VERSIONS, (item,)).fetchall()


def set_clock(connection: psycopg.Connection, at: str) -> None:
    """In this database alone, the shop's clock stands still."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION shop.instant() RETURNS timestamptz LANGUAGE sql VOLATILE "
        f"SET search_path = pg_catalog, pg_temp AS $$SELECT timestamptz '{at}'$$"
    )
