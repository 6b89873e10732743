"""The insights: exact sums, stretches counted from the newest sale, and a past that nothing changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from transforms.scd2 import fold
from transforms.shop import DETAILS, sales_with_items, stretches, top_items, top_members
from transforms.shop_changes import ATTRIBUTES

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def day(number: float) -> datetime:
    return T0 + timedelta(days=number)


def versions(*events: tuple[str, str, float, str | None]) -> pl.DataFrame:
    """Of (item, op, day, name)."""
    rows = [(item, name, "maker", Decimal(1), Decimal(1), op, day(at)) for item, op, at, name in events]
    kinds = {"item_id": pl.String(), **ATTRIBUTES, "op": pl.String(), "ts": pl.Datetime("us", "UTC")}
    return fold(pl.DataFrame(rows, schema=kinds, orient="row"), ["item_id"])


def details(*rows: tuple[str, str, float, str, str, int, str]) -> pl.DataFrame:
    full = [(s, m, day(at), status, item, n, Decimal(price)) for s, m, at, status, item, n, price in rows]
    return pl.DataFrame(full, schema=DETAILS, orient="row")


CATALOGUE = versions(
    ("film", "upsert", 0, "Film"),
    ("film", "upsert", 5, "New film"),
    ("tank", "upsert", 0, "Tank"),
    ("reel", "upsert", 0, "Reel"),
)


def test_each_detail_has_the_item_of_its_time_and_its_exact_amount():
    sold = details(
        ("s2", "ada", 6, "open", "film", 3, "0.10"),
        ("s1", "ada", 1, "open", "film", 1000000, "9999999999.99"),
    )
    joined = sales_with_items(sold, CATALOGUE)
    assert joined.select("sale_id", "name", "amount", "item_version").rows() == [
        ("s1", "Film", Decimal("9999999999990000.00"), day(0)),
        ("s2", "New film", Decimal("0.30"), day(5)),
    ]


def test_a_detail_whose_item_is_not_known_yet_stays_with_nulls():
    joined = sales_with_items(details(("s1", "ada", 1, "open", "lens", 1, "5.00")), CATALOGUE)
    assert joined.select("name", "item_version", "amount").row(0) == (None, None, Decimal("5.00"))


def test_removing_or_changing_an_item_changes_no_insight_about_the_past():
    sold = details(
        ("s1", "ada", 1, "completed", "film", 2, "5.00"),
        ("s2", "bo", 6, "completed", "film", 1, "6.00"),
        ("s3", "bo", 7, "completed", "tank", 1, "30.00"),
    )
    later = versions(
        ("film", "upsert", 0, "Film"),
        ("film", "upsert", 5, "New film"),
        ("film", "delete", 9, None),
        ("tank", "upsert", 0, "Tank"),
        ("tank", "upsert", 8, "Other tank"),
        ("reel", "upsert", 0, "Reel"),
    )
    before, after = sales_with_items(sold, CATALOGUE), sales_with_items(sold, later)
    assert_frame_equal(before, after)
    assert_frame_equal(top_items(before), top_items(after))
    assert_frame_equal(top_members(before), top_members(after))


def test_the_best_members_by_exact_spending_ties_by_id_and_cancelled_sales_do_not_count():
    sold = details(
        ("s1", "cy", 1, "open", "film", 1, "10.00"),
        ("s2", "bo", 1, "shipped", "film", 1, "10.00"),
        ("s3", "ada", 1, "cancelled", "film", 1, "99.00"),
        ("s4", "bo", 2, "cancelled", "film", 1, "99.00"),
        ("s5", "di", 2, "packed", "film", 3, "3.33"),
        ("s5", "di", 2, "packed", "tank", 1, "0.02"),
    )
    best = top_members(sales_with_items(sold, CATALOGUE)).filter(pl.col("window") == "all")
    assert best.select("rank", "membership_id", "spent", "sales").rows() == [
        (1, "di", Decimal("10.01"), 1),
        (2, "bo", Decimal("10.00"), 1),
        (3, "cy", Decimal("10.00"), 1),
    ]


def test_ten_members_and_three_items_are_named():
    sold = details(
        *((f"s{n}", f"m{n:02}", 1, "open", item, 20 - n, "1.00") for n, item in enumerate(["film", "tank", "reel"] * 5))
    )
    joined = sales_with_items(sold, CATALOGUE)
    assert top_members(joined).filter(pl.col("window") == "all")["rank"].to_list() == list(range(1, 11))
    assert top_items(joined).filter(pl.col("window") == "all")["item_id"].to_list() == ["film", "tank", "reel"]


def test_stretches_are_counted_back_from_the_midnight_after_the_newest_sale():
    sold = details(
        ("old", "ada", 0, "open", "tank", 9, "1.00"),
        ("new", "bo", 100.4, "open", "film", 1, "1.00"),
        ("gone", "bo", 200, "cancelled", "film", 1, "1.00"),
    )
    items = top_items(sales_with_items(sold, CATALOGUE))
    ends = datetime(2026, 6, 10, tzinfo=UTC)
    assert items["window_end"].unique().to_list() == [ends]
    assert {window: item for window, item, rank in items.select("window", "item_id", "rank").rows() if rank == 1} == {
        "all": "tank",
        "last 365 days": "tank",
        "last 90 days": "film",
        "last 30 days": "film",
    }
    assert [end - start for _, start, end in stretches(day(3)) if start] == [timedelta(days=n) for n in (365, 90, 30)]


def test_an_item_is_named_as_it_was_when_last_sold_in_the_stretch():
    sold = details(("s1", "ada", 1, "open", "film", 1, "1.00"), ("s2", "ada", 6, "open", "film", 1, "1.00"))
    items = top_items(sales_with_items(sold, CATALOGUE)).filter(pl.col("window") == "all")
    assert items.select("name", "pieces", "amount").row(0) == ("New film", 2, Decimal("2.00"))


@pytest.mark.parametrize("insight", [top_items, top_members])
def test_without_sales_there_is_nothing_to_name(insight):
    assert insight(sales_with_items(details(), CATALOGUE)).height == 0
