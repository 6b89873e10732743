"""Recorded changes of items as events, and versions as the least events that fold to them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
from polars.testing import assert_frame_equal

from transforms.scd2 import fold
from transforms.shop_changes import CHANGES, KEY, VERSIONS, events_of_changes, events_of_versions

FILM = ("film", "Film", "Corvin", Decimal("5.00"), Decimal("0.030"))


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def change(transaction: int, number: int, operation: str, item: tuple, begin: datetime, end: datetime | None = None):
    return (transaction, number, day(20), operation, *item, begin, end)


def events(*rows: tuple) -> list[tuple]:
    changes = pl.DataFrame(list(rows), schema=CHANGES, orient="row")
    return events_of_changes(changes).select("item_id", "op", "ts", "cost", "change_id").rows()


def test_a_change_in_one_transaction_is_one_upsert_and_no_delete():
    dearer = (*FILM[:3], Decimal("6.00"), FILM[4])
    told = events(
        change(1, 1, "INSERT", FILM, day(1)),
        change(2, 2, "UPDATE", FILM, day(1), day(3)),
        change(2, 3, "INSERT", dearer, day(3)),
    )
    assert told == [("film", "upsert", day(1), Decimal("5.00"), 1), ("film", "upsert", day(3), Decimal("6.00"), 3)]


def test_a_removal_is_a_delete_without_attributes():
    told = events(change(1, 1, "INSERT", FILM, day(1)), change(2, 2, "UPDATE", FILM, day(1), day(3)))
    assert told[1] == ("film", "delete", day(3), None, 2)


def test_a_version_loaded_with_its_end_is_two_events_in_that_order():
    told = events(change(1, 1, "INSERT", FILM, day(1), day(2)))
    assert [one[1:3] for one in told] == [("upsert", day(1)), ("delete", day(2))]


def test_an_end_and_a_begin_in_two_transactions_are_a_delete_and_an_upsert_and_fold_to_no_gap():
    rows = (change(1, 1, "INSERT", FILM, day(1), day(2)), change(2, 2, "INSERT", (*FILM[:1], "F", *FILM[2:]), day(2)))
    assert [one[1] for one in events(*rows)] == ["upsert", "delete", "upsert"]
    told = events_of_changes(pl.DataFrame(list(rows), schema=CHANGES, orient="row"))
    history = fold(told.drop("transaction", "change_id", "changed_at"), KEY)
    assert history.select("name", "effective_date", "end_date").rows() == [
        ("Film", day(1), day(2)),
        ("F", day(2), None),
    ]


def test_events_come_in_order_of_transactions_whatever_the_order_of_rows():
    told = events(
        change(9, 1, "INSERT", ("b", *FILM[1:]), day(1)),
        change(8, 2, "INSERT", ("a", *FILM[1:]), day(2)),
    )
    assert [one[0] for one in told] == ["a", "b"]


def test_versions_give_events_that_fold_to_them():
    rows = [
        (*FILM, day(1), day(3)),
        ("film", "Film", "Corvin", Decimal("6.00"), FILM[4], day(3), day(5)),
        ("film", "Film", "Corvin", Decimal("6.00"), FILM[4], day(7), None),
        ("tank", "Tank", "Corvin", Decimal("30.00"), Decimal("0.400"), day(2), day(4)),
    ]
    versions = pl.DataFrame(rows, schema=VERSIONS, orient="row")
    told = events_of_versions(versions.sample(fraction=1, shuffle=True, seed=1))
    assert told["transaction"].null_count() == told.height == 6
    history = fold(told.drop("transaction", "change_id", "changed_at"), KEY)
    assert_frame_equal(history.drop("current_flag"), versions)


def test_nothing_gives_nothing():
    assert events() == []
    assert events_of_versions(pl.DataFrame(schema=VERSIONS)).height == 0
