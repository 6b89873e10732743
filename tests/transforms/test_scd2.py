"""The conventions of the fold, one readable example each; docs/scd2.md names them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.transforms.item_events import INSTANT, KEY, day, delete, event, events, folded, versions
from transforms.scd2 import (
    as_of,
    check_events,
    concat_events,
    fold,
    join_as_of,
)


def test_a_version_ends_where_the_next_one_starts_and_the_last_is_current() -> None:
    history = fold(events(event(1, "lamp"), event(3, "lantern")), KEY)
    assert history.columns == ["item_id", "name", "cost", "effective_date", "end_date", "current_flag"]
    assert history.schema["effective_date"] == history.schema["end_date"] == INSTANT
    assert history.drop("cost").rows() == [
        ("i1", "lamp", day(1), day(3), False),
        ("i1", "lantern", day(3), None, True),
    ]


def test_no_events_give_a_history_without_rows_and_with_its_columns() -> None:
    nothing = fold(events(), KEY)
    assert nothing.height == 0
    assert nothing.schema == fold(events(event(1)), KEY).schema


def test_a_late_event_splits_a_closed_version() -> None:
    assert folded(event(1, "a"), event(5, "c"), event(3, "b")) == [("a", 1, 3), ("b", 3, 5), ("c", 5, None)]


def test_an_event_from_the_future_is_kept_and_only_as_of_knows_that_it_is_not_yet() -> None:
    history = fold(events(event(1, "now"), event(9000, "later")), KEY)
    assert history["current_flag"].to_list() == [False, True]
    assert as_of(history, day(5))["name"].to_list() == ["now"]


def test_several_changes_of_an_item_in_one_batch_are_all_versions() -> None:
    batch = [event(number, name, batch_id="b") for number, name in enumerate("abc", 1)]
    assert folded(*batch) == [("a", 1, 2), ("b", 2, 3), ("c", 3, None)]


def test_there_is_one_current_version_however_often_an_item_came() -> None:
    history = fold(events(*(event(number % 4 + 1, str(number % 3)) for number in range(24))), KEY)
    assert history["current_flag"].sum() == 1


def test_the_higher_seq_wins_whichever_arrives_last_and_the_loser_leaves_no_row() -> None:
    assert folded(event(1, "second", seq=2), event(1, "first", seq=1)) == [("second", 1, None)]


def test_no_seq_is_the_lowest() -> None:
    assert folded(event(1, "numbered", seq=-5), event(1, "without")) == [("numbered", 1, None)]


@pytest.mark.parametrize("seq", [None, 7])
def test_among_equal_seqs_the_last_arrival_wins(seq: int | None) -> None:
    assert folded(event(1, "first", seq=seq), event(1, "last", seq=seq)) == [("last", 1, None)]


def test_a_delete_ties_like_any_event() -> None:
    assert folded(event(1), delete(2), event(2, "kept")) == [("lamp", 1, 2), ("kept", 2, None)]
    assert folded(event(1), event(2, "lost"), delete(2)) == [("lamp", 1, 2)]


def test_a_delete_closes_and_leaves_a_gap_and_a_return_opens_a_version() -> None:
    assert folded(event(1), delete(2), event(4)) == [("lamp", 1, 2), ("lamp", 4, None)]


def test_a_delete_that_arrives_before_its_insert_is_remembered() -> None:
    assert folded(delete(2), event(1)) == [("lamp", 1, 2)]


def test_a_delete_of_nothing_makes_no_version_and_a_second_one_moves_no_end() -> None:
    assert folded(delete(1)) == []
    assert folded(event(1), delete(2), delete(3), event(5)) == [("lamp", 1, 2), ("lamp", 5, None)]


def test_the_attributes_of_a_delete_are_not_read() -> None:
    assert folded(event(1, "a"), event(2, "b", op="delete"), event(3, "a")) == [("a", 1, 2), ("a", 3, None)]


def test_a_repeat_opens_no_version() -> None:
    assert folded(event(1, "a"), event(3, "a")) == [("a", 1, None)]


def test_a_late_event_before_a_repeat_ends_at_it() -> None:
    assert folded(event(1, "a"), event(3, "a"), event(2, "b")) == [("a", 1, 2), ("b", 2, 3), ("a", 3, None)]


@pytest.mark.parametrize("pair", [(None, ""), ("", None), (None, "x"), ("x", None), ("a", "A")])
def test_null_is_a_value_and_the_empty_text_another(pair: tuple[str | None, str | None]) -> None:
    assert [row[0] for row in folded(event(1, pair[0]), event(2, pair[1]))] == list(pair)


def test_null_after_null_is_a_repeat() -> None:
    assert folded(event(1, None, None), event(2, None, None)) == [(None, 1, None)]


def test_nan_is_itself() -> None:
    rows = [event(1), event(2), event(3)]
    frame = events(*rows).with_columns(cost=pl.Series([float("nan"), float("nan"), None]))
    assert [(start, end) for _, start, end in versions(fold(frame, KEY))] == [(1, 3), (3, None)]


def test_thirty_is_thirty_whatever_its_type() -> None:
    whole = events(event(1)).with_columns(cost=pl.lit(30))
    broken = events(event(2)).with_columns(cost=pl.lit(30.0))
    exact = events(event(3)).with_columns(cost=pl.lit(Decimal("30.00")))
    assert versions(fold(concat_events([whole, broken], KEY), KEY)) == [("lamp", 1, None)]
    assert versions(fold(concat_events([whole, exact], KEY), KEY)) == [("lamp", 1, None)]


def test_values_that_read_the_same_side_by_side_are_two() -> None:
    frame = events(event(1, "a"), event(2, "ab")).with_columns(maker=pl.Series(["bc", "c"]))
    assert fold(frame, KEY).height == 2


@pytest.mark.parametrize(
    "values",
    [
        [[1], [1], [1, 2]],
        [{"a": None}, {"a": None}, None],
        [b"x", b"x", None],
        [False, False, None],
        [day(1), day(1), day(2)],
    ],
    ids=["list", "struct", "bytes", "boolean", "time"],
)
def test_any_type_is_compared(values: list[object]) -> None:
    frame = events(event(1), event(2), event(3)).with_columns(pl.Series("cost", values, strict=False))
    assert [(start, end) for _, start, end in versions(fold(frame, KEY))] == [(1, 3), (3, None)]


def test_parts_of_a_key_are_not_written_one_behind_the_other() -> None:
    frame = pl.concat([events(event(1, "x")), events(event(2, "y"))])
    frame = frame.with_columns(item_id=pl.Series(["1", "11"]), shop=pl.Series(["11", "1"]))
    assert fold(frame, ["shop", "item_id"])["current_flag"].to_list() == [True, True]


def test_keys_of_several_columns_are_kept_apart_and_sorted() -> None:
    rows = [event(1, "b"), event(2, "c"), event(1, "a")]
    frame = events(*rows).with_columns(shop=pl.Series([2, 2, 1]))
    assert versions(fold(frame, ["shop", "item_id"]), "shop", "name") == [
        (1, "a", 1, None),
        (2, "b", 1, 2),
        (2, "c", 2, None),
    ]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("item_id", r"Write \['item_id'\]"),
        ([], "one column or more"),
        (["item_id", "item_id"], "each once"),
        (["colour"], "lack colour; they have item_id"),
        (["ts"], "ts cannot be part of the key"),
        (["weight"], "weight is of type Float64"),
    ],
)
def test_a_key_that_identifies_nothing_is_refused(key: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fold(events(event(1)).with_columns(weight=1.5), key)


def test_untracked_columns_show_the_last_values_of_their_version() -> None:
    frame = events(event(1, "a", 1), event(2, "a", 2), event(3, "b", 3), event(4, "b", 4), delete(5))
    assert versions(fold(frame, KEY, ["name"]), "name", "cost") == [
        ("a", Decimal(2), 1, 3),
        ("b", Decimal(4), 3, 5),
    ]


def test_none_tracks_all_and_an_empty_list_nothing() -> None:
    frame = events(event(1, "a"), event(2, "b"), delete(3), event(4, "c"))
    assert versions(fold(frame, KEY, None)) == [("a", 1, 2), ("b", 2, 3), ("c", 4, None)]
    assert versions(fold(frame, KEY, [])) == [("b", 1, 3), ("c", 4, None)]


@pytest.mark.parametrize("tracked", [["colour"], ["item_id"], ["ts"], "name"])
def test_what_is_no_attribute_cannot_be_tracked(tracked: Any) -> None:
    with pytest.raises(ValueError, match="tracked"):
        fold(events(event(1)), KEY, tracked)


def test_other_zones_and_precisions_are_the_same_instants() -> None:
    utc = events(event(1, "a"), event(2, "b"))
    berlin = utc.with_columns(pl.col("ts").dt.convert_time_zone("Europe/Berlin"))
    for unit in ("ms", "us", "ns"):
        assert fold(berlin.with_columns(pl.col("ts").dt.cast_time_unit(unit)), KEY).equals(fold(utc, KEY))


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        (pl.col("ts").dt.replace_time_zone(None), "without a zone"),
        (pl.col("ts").dt.date(), "is of type Date"),
        (pl.col("ts").cast(pl.String), "is of type String"),
        (pl.col("ts").dt.cast_time_unit("ns") + pl.duration(nanoseconds=1), "1 timestamps finer"),
    ],
    ids=["naive", "date", "text", "nanoseconds"],
)
def test_what_is_no_instant_is_refused(ts: pl.Expr, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fold(events(event(1)).with_columns(ts), KEY)


def test_a_question_without_a_zone_is_refused_and_one_in_another_zone_answered() -> None:
    history = fold(events(event(1, "a"), event(2, "b")), KEY)
    with pytest.raises(ValueError, match="no time zone"):
        as_of(history, day(1).replace(tzinfo=None))
    tokyo = ZoneInfo("Asia/Tokyo")
    assert as_of(history, datetime(2026, 3, 2, 8, 59, tzinfo=tokyo))["name"].to_list() == ["a"]
    assert as_of(history, datetime(2026, 3, 2, 9, 0, tzinfo=tokyo))["name"].to_list() == ["b"]


def test_a_new_column_is_null_before_and_a_lost_one_null_after() -> None:
    old = events(event(1, "a"))
    new = events(event(2, "a")).drop("cost").with_columns(colour=pl.lit("red"))
    history = fold(concat_events([old, new], KEY), KEY)
    assert versions(history, "name", "cost", "colour") == [
        ("a", Decimal(1), None, 1, 2),
        ("a", None, "red", 2, None),
    ]


def test_an_untouched_column_of_nulls_starts_no_version() -> None:
    new = events(event(2)).with_columns(colour=pl.lit(None, pl.String))
    assert fold(concat_events([events(event(1)), new], KEY), KEY).height == 1


@pytest.mark.parametrize("cost", [pl.lit("30"), pl.lit(30.0), pl.lit(True)], ids=["text", "float", "boolean"])
def test_types_that_do_not_meet_are_refused_not_made_to(cost: pl.Expr) -> None:
    with pytest.raises(ValueError, match="cost is of types that do not meet"):
        concat_events([events(event(1)), events(event(2)).with_columns(cost=cost)], KEY)


def test_concatenating_milliseconds_cuts_no_microsecond() -> None:
    fine = events(event(1)).with_columns(pl.col("ts") + pl.duration(microseconds=1))
    coarse = events(event(2)).with_columns(pl.col("ts").dt.cast_time_unit("ms"))
    assert concat_events([fine, coarse], KEY)["ts"].to_list() == [day(1) + timedelta(microseconds=1), day(2)]


@pytest.mark.parametrize("name", ["effective_date", "end_date", "current_flag"])
def test_an_attribute_named_like_a_column_of_the_history_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"taken: {name}"):
        fold(events(event(1)).with_columns(pl.lit(1).alias(name)), KEY)


def test_other_names_clash_with_nothing() -> None:
    names = ["index", "item", "at", "deleted", "first", "last", "end", "key_0", "row", "version", "fact", "literal"]
    frame = events(event(1), event(2)).with_columns(pl.lit(1).alias(name) for name in names)
    history = fold(frame, KEY)
    facts = events(event(1)).select("item_id", sold_at="ts", start="ts")
    assert versions(history, *names) == [(*[1] * len(names), 1, None)]
    assert join_as_of(facts, history, KEY, "sold_at").height == 1


def test_missing_columns_and_wrong_types_are_named() -> None:
    frame = events(event(1))
    for wrong, said in [
        (frame.drop("op"), "lack op"),
        (frame.drop("ts"), "lack ts"),
        (frame.with_columns(op=1), "op is of type"),
        (frame.with_columns(seq=1.5), "seq is of type"),
    ]:
        with pytest.raises(ValueError, match=said):
            check_events(wrong, KEY)
    with pytest.raises(ValueError, match="taken: reason"):
        check_events(frame.with_columns(reason=1), KEY)
