"""Items keep every version they ever had, whoever changes them and whatever meets."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from resources.shop import RULES, ShopRefused, ShopUnavailable, in_transaction, shop_errors
from tests.resources.shop.shelves import add_detail, add_item, add_sale, set_clock, versions

pytestmark = pytest.mark.stack
MICROSECOND = timedelta(microseconds=1)


def holds(found: list[dict]) -> None:
    """Half-open, one behind the other, current exactly where there is no end."""
    for earlier, later in itertools.pairwise(found):
        assert earlier["end_date"] is not None
        assert earlier["effective_date"] < earlier["end_date"] <= later["effective_date"]
    assert all(one["current_flag"] == (one["end_date"] is None) for one in found)


def test_several_changes_in_one_transaction_are_all_kept(shop: str):
    def work(connection: psycopg.Connection) -> None:
        add_item(connection)
        for cost in ("6", "7", "8"):
            connection.execute("UPDATE shop.items SET cost = %s", (cost,))
        connection.execute("DELETE FROM shop.items")
        add_item(connection, cost="9")

    in_transaction(shop, work)
    with psycopg.connect(shop) as connection:
        found = versions(connection)
    assert [one["cost"] for one in found] == [Decimal("5.00"), *map(Decimal, "6789")]
    holds(found)


def test_a_removed_item_leaves_the_view_and_returns_as_a_new_version_behind_a_gap(connection: psycopg.Connection):
    add_item(connection)
    connection.execute("DELETE FROM shop.items WHERE item_id = 'film'")
    assert connection.execute("SELECT * FROM shop.items").fetchall() == []
    add_item(connection, cost="6")
    gone, back = versions(connection)
    assert gone["end_date"] < back["effective_date"]
    assert back["current_flag"]
    between = connection.execute("SELECT * FROM shop.items_as_of(%s)", (gone["end_date"],)).fetchall()
    assert between == []


def test_an_update_that_changes_nothing_makes_no_version(connection: psycopg.Connection):
    add_item(connection)
    assert connection.execute("UPDATE shop.items SET cost = 5, name = name").rowcount == 1
    assert len(versions(connection)) == 1


@pytest.mark.parametrize("role", ["shop_owner", "postgres"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE shop.item_versions SET cost = 1",
        "UPDATE shop.item_versions SET end_date = now() + interval '1 day' WHERE end_date IS NULL",
        "UPDATE shop.item_versions SET end_date = NULL",
        "DELETE FROM shop.item_versions",
        "TRUNCATE shop.item_versions",
        "INSERT INTO shop.item_versions (item_id, name, manufacturer, cost, weight_kg, effective_date, end_date)"
        " VALUES ('film', 'n', 'm', 1, 1, '2020-01-01Z', '2020-01-02Z')",
        "UPDATE shop.changes SET changed_by = 'nobody'",
        "DELETE FROM shop.changes",
        "TRUNCATE shop.changes",
    ],
)
def test_history_is_not_rewritten_even_by_the_owner(connection: psycopg.Connection, role: str, statement: str):
    add_item(connection)
    connection.execute("UPDATE shop.items SET cost = 6")
    before = versions(connection)
    connection.execute(f"SET ROLE {role}")
    with pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute(statement)
    assert versions(connection) == before


def test_a_session_that_switches_triggers_off_rewrites_nothing_either(connection: psycopg.Connection):
    add_item(connection)
    connection.execute("SET session_replication_role = replica")
    with pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute("DELETE FROM shop.item_versions")


def test_eighty_updates_of_one_item_at_once_are_eighty_versions(connection: psycopg.Connection, shop: str):
    add_item(connection, cost="0")
    faults: list[Exception] = []

    def raise_cost() -> None:
        try:
            update = "UPDATE shop.items SET cost = cost + 1 WHERE item_id = 'film'"
            in_transaction(shop, lambda own: own.execute(update).rowcount, seconds=120)
        except Exception as error:  # told to the test, whichever it is
            faults.append(error)

    writers = [threading.Thread(target=raise_cost) for _ in range(80)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(180)
    assert faults == []
    found = versions(connection)
    assert [one["cost"] for one in found] == list(range(81))
    holds(found)


def test_a_change_made_from_what_another_has_replaced_is_40001_and_begins_again(shop: str):
    with psycopg.connect(shop, autocommit=True) as first:
        add_item(first)
        tries = 0

        def work(own: psycopg.Connection) -> None:
            nonlocal tries
            tries += 1
            own.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            own.execute("SELECT cost FROM shop.items")
            if tries == 1:
                first.execute("UPDATE shop.items SET cost = 6")
            own.execute("UPDATE shop.items SET cost = cost + 1")

        in_transaction(shop, work)
        assert tries == 2
        assert [one["cost"] for one in versions(first)] == [Decimal("5.00"), 6, 7]


def test_who_never_gets_through_is_told_so_and_nothing_is_changed(shop: str):
    times = iter(range(100))

    def work(own: psycopg.Connection) -> None:
        add_item(own)
        raise psycopg.errors.SerializationFailure("met another")

    with pytest.raises(
        ShopUnavailable, match=r"met other changes until its time was over: met another\. Nothing was changed"
    ):
        in_transaction(shop, work, seconds=5, sleep=lambda pause: None, clock=lambda: next(times))
    with psycopg.connect(shop) as connection:
        assert versions(connection) == []


def test_a_clock_that_is_set_back_neither_ties_nor_overlaps(connection: psycopg.Connection):
    set_clock(connection, "2025-06-01Z")
    add_item(connection)
    set_clock(connection, "2025-05-01Z")
    connection.execute("UPDATE shop.items SET cost = 6")
    connection.execute("DELETE FROM shop.items")
    add_item(connection, cost="7")
    start = datetime(2025, 6, 1, tzinfo=UTC)
    found = versions(connection)
    assert [one["effective_date"] - start for one in found] == [0 * MICROSECOND, MICROSECOND, 3 * MICROSECOND]
    holds(found)


def test_with_a_clock_set_back_a_change_still_begins_behind_the_last_sale(connection: psycopg.Connection):
    set_clock(connection, "2025-06-01Z")
    add_item(connection)
    set_clock(connection, "2025-06-02Z")
    add_sale(connection)
    add_detail(connection)
    set_clock(connection, "2025-05-01Z")
    connection.execute("DELETE FROM shop.items")
    (gone,) = versions(connection)
    assert gone["end_date"] == datetime(2025, 6, 2, tzinfo=UTC) + MICROSECOND


@pytest.mark.parametrize(
    "name",
    [
        "'); DROP TABLE shop.sales; --",
        "Robert'; DELETE FROM shop.item_versions WHERE '1'='1",
        '"; SELECT pg_sleep(9); "',
        "%s %(name)s {} $1 :name \\",
        "$$; COMMIT; $$",
        "Größe 日本 \u202e\n\t'",
    ],
)
def test_a_name_is_data_whatever_it_holds(connection: psycopg.Connection, name: str):
    connection.execute("INSERT INTO shop.items VALUES ('film', %s, %s, 1, 1)", (name, name))
    connection.execute("UPDATE shop.items SET cost = 2 WHERE name = %s", (name,))
    assert [(one["name"], one["manufacturer"]) for one in versions(connection)] == [(name, name)] * 2
    kept = connection.execute("SELECT after ->> 'name' FROM shop.changes WHERE operation = 'INSERT'").fetchall()
    assert kept == [(name,)] * 2


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE shop.items SET cost = -1", "item_cost_range"),
        ("UPDATE shop.items SET cost = 'NaN'", "item_cost_range"),
        ("UPDATE shop.items SET cost = 'Infinity'", "item_cost_range"),
        ("UPDATE shop.items SET cost = 1.005", "item_cost_decimals"),
        ("UPDATE shop.items SET weight_kg = -0.001", "item_weight_range"),
        ("UPDATE shop.items SET name = ''", "item_name_length"),
        ("UPDATE shop.items SET name = NULL", ""),
        ("UPDATE shop.items SET item_id = 'other'", "item_keeps_its_id"),
        ("INSERT INTO shop.items VALUES ('film', 'n', 'm', 1, 1)", "item_has_one_current_version"),
        ("INSERT INTO shop.items VALUES ('a b', 'n', 'm', 1, 1)", "item_id_form"),
    ],
)
def test_what_cannot_be_is_our_error_with_what_is_valid(connection: psycopg.Connection, statement: str, rule: str):
    add_item(connection)
    with pytest.raises(ShopRefused) as refused, shop_errors("Changing an item"):
        connection.execute(statement)
    assert refused.value.facts["rule"] == rule
    assert RULES.get(rule, "a value for name") in str(refused.value)
    assert len(versions(connection)) == 1


def test_every_rule_of_the_database_has_a_sentence(connection: psycopg.Connection):
    checks = connection.execute(
        "SELECT conname FROM pg_constraint WHERE connamespace = 'shop'::regnamespace AND contype IN ('c', 'f', 'x')"
        " AND conname !~ '^(changes|change_record|alembic)'"
    ).fetchall()
    assert {name for (name,) in checks} - set(RULES) == set()


def test_an_item_without_an_id_gets_one(connection: psycopg.Connection):
    add = "INSERT INTO shop.items (name, manufacturer, cost, weight_kg) VALUES ('n', 'm', 1, 1) RETURNING item_id"
    assert connection.execute(add).fetchone() != connection.execute(add).fetchone()
