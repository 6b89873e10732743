"""Questions to a history: what held, which version a fact was made with, what a refold changed; docs/scd2.md."""

from __future__ import annotations

import polars as pl
import pytest

from tests.transforms.item_events import HISTORY, INSTANT, KEY, day, delete, event, events, versions
from transforms.scd2 import (
    as_of,
    changes,
    concat_events,
    events_from_history,
    fold,
    join_as_of,
    touched,
)


@pytest.mark.parametrize(
    ("at", "names"),
    [(0.9, []), (1, ["a", "z"]), (2.9, ["a", "z"]), (3, ["b", "z"]), (5, ["z"]), (6, ["z"]), (7, ["c", "z"])],
)
def test_a_version_holds_from_its_start_until_before_its_end(at: float, names: list[str]) -> None:
    held = as_of(HISTORY, day(at))
    assert held["name"].to_list() == names
    assert held.columns == HISTORY.columns


def facts_of(*rows: tuple[str | None, float | None]) -> pl.DataFrame:
    moments = [(item, None if at is None else day(at)) for item, at in rows]
    return pl.DataFrame(moments, schema={"item_id": pl.String, "sold_at": INSTANT}, orient="row")


def test_each_fact_gets_the_version_of_its_time_in_the_order_of_the_facts() -> None:
    facts = facts_of(("i1", 8), ("i1", 1), ("i2", 1.5), ("i1", 3), ("i1", 2.9), ("i1", 1))
    joined = join_as_of(facts, HISTORY, KEY, "sold_at")
    assert joined.columns == ["item_id", "sold_at", "name", "cost", "effective_date", "end_date", "current_flag"]
    assert joined.select(facts.columns).equals(facts)
    assert joined["name"].to_list() == ["c", "a", "z", "b", "a", "a"]


def test_the_order_of_the_history_changes_no_answer() -> None:
    facts = facts_of(("i1", 8), ("i1", 1), ("i2", 1.5), ("i1", 3))
    joined = join_as_of(facts, HISTORY.reverse(), KEY, "sold_at")
    assert joined.equals(join_as_of(facts, HISTORY, KEY, "sold_at"))


def test_facts_with_no_version_stay_with_nulls() -> None:
    facts = facts_of(("i1", 0.5), ("i1", 5), ("i1", 6), ("i9", 1), (None, 1), ("i1", None))
    joined = join_as_of(facts, HISTORY, KEY, "sold_at")
    assert joined.drop(facts.columns).rows() == [(None,) * 5] * facts.height


def test_no_facts_and_no_history_are_no_error() -> None:
    facts = facts_of(("i1", 1))
    assert join_as_of(facts.clear(), HISTORY, KEY, "sold_at").height == 0
    assert join_as_of(facts, HISTORY.clear(), KEY, "sold_at")["name"].to_list() == [None]


def test_keys_of_several_columns() -> None:
    frame = events(event(1, "x"), event(1, "y")).with_columns(shop=pl.Series([1, 2]))
    facts = facts_of(("i1", 2), ("i1", 2)).with_columns(shop=pl.Series([2, 1]))
    key = ["shop", "item_id"]
    assert join_as_of(facts, fold(frame, key), key, "sold_at")["name"].to_list() == ["y", "x"]


def test_removing_an_item_changes_nothing_about_the_past() -> None:
    facts = facts_of(("i2", 2), ("i2", 3))
    after = fold(concat_events([events_from_history(HISTORY, KEY), events(delete(4, item_id="i2"))], KEY), KEY)
    joined = [join_as_of(facts, history, KEY, "sold_at")["name"].to_list() for history in (HISTORY, after)]
    assert joined == [["z", "z"], ["z", "z"]]


def test_what_cannot_be_joined_is_said() -> None:
    facts = facts_of(("i1", 1))
    for wrong, at, said in [
        (facts, "bought_at", "lack bought_at"),
        (facts.with_columns(name=1), "sold_at", "taken: name"),
        (facts.with_columns(item_id=1), "sold_at", "item_id is Int32 and String"),
        (facts.with_columns(pl.col("sold_at").dt.replace_time_zone(None)), "sold_at", "without a zone"),
    ]:
        with pytest.raises(ValueError, match=said):
            join_as_of(wrong, HISTORY, KEY, at)


def test_the_events_of_a_history_are_the_least_that_fold_to_it() -> None:
    made = events_from_history(HISTORY, KEY)
    assert made.height == 5
    assert fold(made, KEY).equals(HISTORY)


def test_touched_are_the_keys_of_the_events_that_count_each_once() -> None:
    rows = [event(1, item_id="i2"), event(2), event(3), event(None, item_id="i3"), event(1, item_id=None)]
    assert touched(events(*rows), KEY).rows() == [("i1",), ("i2",)]


def test_changes_are_the_versions_to_take_away_and_those_to_bring() -> None:
    before = fold(events(event(1, "a"), event(5, "c")), KEY)
    after = fold(events(event(1, "a"), event(5, "c"), event(3, "b")), KEY)
    gone, new = changes(before, after, KEY)
    assert versions(gone) == [("a", 1, 5)]
    assert versions(new) == [("a", 1, 3), ("b", 3, 5)]


def test_a_refold_that_changes_nothing_has_nothing_to_rewrite() -> None:
    repeated = fold(concat_events([events_from_history(HISTORY, KEY), events(event(8, "c"))], KEY), KEY)
    assert [part.height for part in changes(HISTORY, repeated, KEY)] == [0, 0]


def test_a_new_column_of_nulls_is_no_change_and_one_with_a_value_is() -> None:
    same = HISTORY.with_columns(colour=pl.lit(None, pl.String))
    assert [part.height for part in changes(HISTORY, same, KEY)] == [0, 0]
    red = HISTORY.with_columns(colour=pl.when(pl.col("name") == "c").then(pl.lit("red")))
    assert [part["name"].to_list() for part in changes(HISTORY, red, KEY)] == [["c"], ["c"]]
