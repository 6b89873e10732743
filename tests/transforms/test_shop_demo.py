"""The made-up shop: the same from the same seed, and a shop that could have been."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest

from transforms.shop_demo import BEGIN, END, demo_shop
from transforms.shop_rows import STATUSES


@pytest.fixture(scope="module")
def shop() -> dict[str, list[tuple]]:
    return {table: [row.values for row in rows] for table, rows in demo_shop().items()}


def test_the_same_seed_is_the_same_shop_and_another_one_is_not():
    assert demo_shop(sales=50) == demo_shop(sales=50)
    assert demo_shop(2, sales=50) != demo_shop(sales=50)


def test_it_is_as_large_as_promised_and_things_happen_in_it(shop: dict[str, list[tuple]]):
    assert (len(shop["members"]), len(shop["sales"])) == (200, 20_000)
    versions = defaultdict(list)
    for item, *_, cost, weight, begin, end in shop["items"]:
        versions[item].append((cost, weight, begin, end))
    assert len(versions) == 500
    repriced = [one for one in versions.values() if len({cost for cost, *_ in one}) > 1]
    heavier = [one for one in versions.values() if len({weight for _, weight, *_ in one}) > 1]
    removed = [one for one in versions.values() if one[-1][3] is not None]
    returned = [one for one in versions.values() if any(a[3] != b[2] for a, b in itertools.pairwise(one))]
    assert all((repriced, heavier, removed, returned))
    assert {status for *_, status, _, _ in shop["sales"]} == set(STATUSES)


def test_a_sale_names_only_what_was_to_be_had_at_its_price_then(shop: dict[str, list[tuple]]):
    versions = defaultdict(list)
    for item, *_, cost, _, begin, end in shop["items"]:
        versions[item].append((begin, end, cost))
    for _, item, _, price, at in shop["sales_details"]:
        (found,) = [cost for begin, end, cost in versions[item] if begin <= at and (end is None or at < end)]
        assert found == price
    times = {sale: at for sale, _, at, *_ in shop["sales"]}
    assert {sale: at for sale, _, _, _, at in shop["sales_details"]} == times
    assert min(times.values()) > BEGIN
    assert max(times.values()) < END


def test_some_items_and_members_are_far_more_popular_than_others(shop: dict[str, list[tuple]]):
    for column, rows in ((1, shop["sales"]), (1, shop["sales_details"])):
        counted = [count for _, count in Counter(row[column] for row in rows).most_common()]
        assert counted[0] > 10 * counted[-1]
