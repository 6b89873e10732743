"""The conventions of item versions, one readable example each; docs/scd2.md names them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from transforms.scd2 import (
    as_of,
    changes,
    check_events,
    concat_events,
    events_from_history,
    events_from_snapshot,
    fold,
    join_as_of,
    split_replays,
    touched,
)

KEY = ["item_id"]
INSTANT = pl.Datetime("us", "UTC")
SCHEMA = {
    "item_id": pl.String,
    "name": pl.String,
    "cost": pl.Decimal(12, 2),
    "op": pl.String,
    "ts": INSTANT,
    "seq": pl.Int64,
    "batch_id": pl.String,
}


def day(number: float) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number - 1)


def event(ts: float | None, name: str | None = "lamp", cost: int | None = 1, **other: Any) -> dict[str, Any]:
    """An upsert of item i1 on a day of March, with one thing or another changed."""
    row = {"item_id": "i1", "name": name, "cost": cost, "op": "upsert", "seq": None, "batch_id": None}
    return {**row, "ts": None if ts is None else day(ts), **other}


def delete(ts: float, **other: Any) -> dict[str, Any]:
    return event(ts, None, None, op="delete", **other)


def events(*rows: dict[str, Any], **types: Any) -> pl.DataFrame:
    rows = tuple({**row, "cost": row["cost"] if row["cost"] is None else Decimal(row["cost"])} for row in rows)
    return pl.DataFrame(rows, schema=SCHEMA | types)


def versions(history: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Of each version the columns, then the days of its start and end."""
    columns = columns or ("name",)
    first = day(1)
    days = [(pl.col(name) - first).dt.total_seconds() / 86400 + 1 for name in ("effective_date", "end_date")]
    return history.select(*columns, *days).rows()


def folded(*rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    return versions(fold(events(*rows), KEY))


class TestFold:
    def test_a_version_ends_where_the_next_one_starts_and_the_last_is_current(self) -> None:
        history = fold(events(event(1, "lamp"), event(3, "lantern")), KEY)
        assert history.columns == ["item_id", "name", "cost", "effective_date", "end_date", "current_flag"]
        assert history.schema["effective_date"] == history.schema["end_date"] == INSTANT
        assert history.drop("cost").rows() == [
            ("i1", "lamp", day(1), day(3), False),
            ("i1", "lantern", day(3), None, True),
        ]

    def test_no_events_give_a_history_without_rows_and_with_its_columns(self) -> None:
        nothing = fold(events(), KEY)
        assert nothing.height == 0
        assert nothing.schema == fold(events(event(1)), KEY).schema

    def test_a_late_event_splits_a_closed_version(self) -> None:
        assert folded(event(1, "a"), event(5, "c"), event(3, "b")) == [("a", 1, 3), ("b", 3, 5), ("c", 5, None)]

    def test_an_event_from_the_future_is_kept_and_only_as_of_knows_that_it_is_not_yet(self) -> None:
        history = fold(events(event(1, "now"), event(9000, "later")), KEY)
        assert history["current_flag"].to_list() == [False, True]
        assert as_of(history, day(5))["name"].to_list() == ["now"]

    def test_several_changes_of_an_item_in_one_batch_are_all_versions(self) -> None:
        batch = [event(number, name, batch_id="b") for number, name in enumerate("abc", 1)]
        assert folded(*batch) == [("a", 1, 2), ("b", 2, 3), ("c", 3, None)]

    def test_there_is_one_current_version_however_often_an_item_came(self) -> None:
        history = fold(events(*(event(number % 4 + 1, str(number % 3)) for number in range(24))), KEY)
        assert history["current_flag"].sum() == 1


class TestTies:
    def test_the_higher_seq_wins_whichever_arrives_last_and_the_loser_leaves_no_row(self) -> None:
        assert folded(event(1, "second", seq=2), event(1, "first", seq=1)) == [("second", 1, None)]

    def test_no_seq_is_the_lowest(self) -> None:
        assert folded(event(1, "numbered", seq=-5), event(1, "without")) == [("numbered", 1, None)]

    @pytest.mark.parametrize("seq", [None, 7])
    def test_among_equal_seqs_the_last_arrival_wins(self, seq: int | None) -> None:
        assert folded(event(1, "first", seq=seq), event(1, "last", seq=seq)) == [("last", 1, None)]

    def test_a_delete_ties_like_any_event(self) -> None:
        assert folded(event(1), delete(2), event(2, "kept")) == [("lamp", 1, 2), ("kept", 2, None)]
        assert folded(event(1), event(2, "lost"), delete(2)) == [("lamp", 1, 2)]


class TestDeletes:
    def test_a_delete_closes_and_leaves_a_gap_and_a_return_opens_a_version(self) -> None:
        assert folded(event(1), delete(2), event(4)) == [("lamp", 1, 2), ("lamp", 4, None)]

    def test_a_delete_that_arrives_before_its_insert_is_remembered(self) -> None:
        assert folded(delete(2), event(1)) == [("lamp", 1, 2)]

    def test_a_delete_of_nothing_makes_no_version_and_a_second_one_moves_no_end(self) -> None:
        assert folded(delete(1)) == []
        assert folded(event(1), delete(2), delete(3), event(5)) == [("lamp", 1, 2), ("lamp", 5, None)]

    def test_the_attributes_of_a_delete_are_not_read(self) -> None:
        assert folded(event(1, "a"), event(2, "b", op="delete"), event(3, "a")) == [("a", 1, 2), ("a", 3, None)]


class TestRepeats:
    def test_a_repeat_opens_no_version(self) -> None:
        assert folded(event(1, "a"), event(3, "a")) == [("a", 1, None)]

    def test_a_late_event_before_a_repeat_ends_at_it(self) -> None:
        assert folded(event(1, "a"), event(3, "a"), event(2, "b")) == [("a", 1, 2), ("b", 2, 3), ("a", 3, None)]


class TestComparison:
    @pytest.mark.parametrize("pair", [(None, ""), ("", None), (None, "x"), ("x", None), ("a", "A")])
    def test_null_is_a_value_and_the_empty_text_another(self, pair: tuple[str | None, str | None]) -> None:
        assert [row[0] for row in folded(event(1, pair[0]), event(2, pair[1]))] == list(pair)

    def test_null_after_null_is_a_repeat(self) -> None:
        assert folded(event(1, None, None), event(2, None, None)) == [(None, 1, None)]

    def test_nan_is_itself(self) -> None:
        rows = [event(1), event(2), event(3)]
        frame = events(*rows).with_columns(cost=pl.Series([float("nan"), float("nan"), None]))
        assert [(start, end) for _, start, end in versions(fold(frame, KEY))] == [(1, 3), (3, None)]

    def test_thirty_is_thirty_whatever_its_type(self) -> None:
        whole = events(event(1)).with_columns(cost=pl.lit(30))
        broken = events(event(2)).with_columns(cost=pl.lit(30.0))
        exact = events(event(3)).with_columns(cost=pl.lit(Decimal("30.00")))
        assert versions(fold(concat_events([whole, broken], KEY), KEY)) == [("lamp", 1, None)]
        assert versions(fold(concat_events([whole, exact], KEY), KEY)) == [("lamp", 1, None)]

    def test_values_that_read_the_same_side_by_side_are_two(self) -> None:
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
    def test_any_type_is_compared(self, values: list[object]) -> None:
        frame = events(event(1), event(2), event(3)).with_columns(pl.Series("cost", values, strict=False))
        assert [(start, end) for _, start, end in versions(fold(frame, KEY))] == [(1, 3), (3, None)]


class TestKeys:
    def test_parts_of_a_key_are_not_written_one_behind_the_other(self) -> None:
        frame = pl.concat([events(event(1, "x")), events(event(2, "y"))])
        frame = frame.with_columns(item_id=pl.Series(["1", "11"]), shop=pl.Series(["11", "1"]))
        assert fold(frame, ["shop", "item_id"])["current_flag"].to_list() == [True, True]

    def test_keys_of_several_columns_are_kept_apart_and_sorted(self) -> None:
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
    def test_a_key_that_identifies_nothing_is_refused(self, key: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            fold(events(event(1)).with_columns(weight=1.5), key)


class TestTracked:
    def test_untracked_columns_show_the_last_values_of_their_version(self) -> None:
        frame = events(event(1, "a", 1), event(2, "a", 2), event(3, "b", 3), event(4, "b", 4), delete(5))
        assert versions(fold(frame, KEY, ["name"]), "name", "cost") == [
            ("a", Decimal(2), 1, 3),
            ("b", Decimal(4), 3, 5),
        ]

    def test_none_tracks_all_and_an_empty_list_nothing(self) -> None:
        frame = events(event(1, "a"), event(2, "b"), delete(3), event(4, "c"))
        assert versions(fold(frame, KEY, None)) == [("a", 1, 2), ("b", 2, 3), ("c", 4, None)]
        assert versions(fold(frame, KEY, [])) == [("b", 1, 3), ("c", 4, None)]

    @pytest.mark.parametrize("tracked", [["colour"], ["item_id"], ["ts"], "name"])
    def test_what_is_no_attribute_cannot_be_tracked(self, tracked: Any) -> None:
        with pytest.raises(ValueError, match="tracked"):
            fold(events(event(1)), KEY, tracked)


class TestBatches:
    def test_a_batch_id_seen_before_is_a_no_op_whatever_the_later_batch_holds(self) -> None:
        first, second = event(1, "a", batch_id="one"), event(2, "b", batch_id="two")
        again = [event(2, "c", batch_id="one"), event(3, "d", batch_id="one", item_id="i2")]
        assert folded(first, second, *again) == folded(first, second)

    def test_a_replay_does_not_win_a_tie_that_it_had_lost(self) -> None:
        lost, won = event(1, "lost", batch_id="one"), event(1, "won", batch_id="two")
        assert folded(lost, won, lost) == [("won", 1, None)]

    def test_a_batch_right_behind_itself_is_one_batch(self) -> None:
        batch = [event(1, "a", batch_id="one"), event(1, "b", batch_id="one")]
        assert folded(*batch, *batch) == [("b", 1, None)]

    def test_events_without_a_batch_are_never_a_replay(self) -> None:
        assert folded(event(1, "a"), event(2, "b", batch_id="one"), event(3, "c")) == [
            ("a", 1, 2),
            ("b", 2, 3),
            ("c", 3, None),
        ]

    def test_a_batch_known_from_earlier_frames_is_a_replay(self) -> None:
        frame = events(event(1, batch_id="old"), event(2, batch_id="new"), event(3))
        fresh, replayed = split_replays(frame, seen={"old"})
        assert fresh["ts"].to_list() == [day(2), day(3)]
        assert replayed["ts"].to_list() == [day(1)]

    def test_a_batch_whose_every_event_was_rejected_has_been_seen(self) -> None:
        bad, good = event(1, op="remove", batch_id="one"), event(1, batch_id="one")
        assert folded(bad, event(2, "b", batch_id="two"), good) == [("b", 2, None)]

    def test_seq_and_batch_id_may_be_left_out(self) -> None:
        frame = events(event(1, "a"), event(2, "b"))
        assert fold(frame.drop("seq", "batch_id"), KEY).equals(fold(frame, KEY))


class TestRejections:
    def test_bad_events_are_rejected_singly_with_a_reason_and_the_rest_applies(self) -> None:
        good, later = event(1, "a"), event(2, "b")
        bad = [event(1, item_id=None), event(None), event(1, op="DELETE"), event(1, op=None)]
        frame = events(good, *bad, later)
        accepted, rejected = check_events(frame, KEY)
        assert accepted.equals(events(good, later))
        assert rejected.drop("reason").equals(events(*bad))
        assert rejected["reason"].to_list() == ["null_key", "null_ts", "bad_op", "bad_op"]
        assert fold(frame, KEY).equals(fold(accepted, KEY))

    def test_one_null_part_makes_a_null_key(self) -> None:
        frame = events(event(1)).with_columns(shop=pl.lit(None, pl.Int64))
        assert check_events(frame, ["shop", "item_id"])[1]["reason"].to_list() == ["null_key"]

    def test_the_first_reason_that_holds_is_given(self) -> None:
        frame = events(event(None, item_id=None, op="x"), event(None, op="x"))
        assert check_events(frame, KEY)[1]["reason"].to_list() == ["null_key", "null_ts"]

    def test_columns_of_nothing_but_null_are_judged_too(self) -> None:
        frame = pl.DataFrame({"item_id": ["i1"], "op": [None], "ts": [None], "seq": [None], "batch_id": [None]})
        assert check_events(frame, KEY)[1]["reason"].to_list() == ["null_ts"]


class TestTimes:
    def test_other_zones_and_precisions_are_the_same_instants(self) -> None:
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
    def test_what_is_no_instant_is_refused(self, ts: pl.Expr, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            fold(events(event(1)).with_columns(ts), KEY)

    def test_a_question_without_a_zone_is_refused_and_one_in_another_zone_answered(self) -> None:
        history = fold(events(event(1, "a"), event(2, "b")), KEY)
        with pytest.raises(ValueError, match="no time zone"):
            as_of(history, datetime(2026, 3, 1))
        tokyo = ZoneInfo("Asia/Tokyo")
        assert as_of(history, datetime(2026, 3, 2, 8, 59, tzinfo=tokyo))["name"].to_list() == ["a"]
        assert as_of(history, datetime(2026, 3, 2, 9, 0, tzinfo=tokyo))["name"].to_list() == ["b"]


class TestColumns:
    def test_a_new_column_is_null_before_and_a_lost_one_null_after(self) -> None:
        old = events(event(1, "a"))
        new = events(event(2, "a")).drop("cost").with_columns(colour=pl.lit("red"))
        history = fold(concat_events([old, new], KEY), KEY)
        assert versions(history, "name", "cost", "colour") == [
            ("a", Decimal(1), None, 1, 2),
            ("a", None, "red", 2, None),
        ]

    def test_an_untouched_column_of_nulls_starts_no_version(self) -> None:
        new = events(event(2)).with_columns(colour=pl.lit(None, pl.String))
        assert fold(concat_events([events(event(1)), new], KEY), KEY).height == 1

    @pytest.mark.parametrize("cost", [pl.lit("30"), pl.lit(30.0), pl.lit(True)], ids=["text", "float", "boolean"])
    def test_types_that_do_not_meet_are_refused_not_made_to(self, cost: pl.Expr) -> None:
        with pytest.raises(ValueError, match="cost is of types that do not meet"):
            concat_events([events(event(1)), events(event(2)).with_columns(cost=cost)], KEY)

    def test_concatenating_milliseconds_cuts_no_microsecond(self) -> None:
        fine = events(event(1)).with_columns(pl.col("ts") + pl.duration(microseconds=1))
        coarse = events(event(2)).with_columns(pl.col("ts").dt.cast_time_unit("ms"))
        assert concat_events([fine, coarse], KEY)["ts"].to_list() == [day(1) + timedelta(microseconds=1), day(2)]

    @pytest.mark.parametrize("name", ["effective_date", "end_date", "current_flag"])
    def test_an_attribute_named_like_a_column_of_the_history_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"taken: {name}"):
            fold(events(event(1)).with_columns(pl.lit(1).alias(name)), KEY)

    def test_other_names_clash_with_nothing(self) -> None:
        names = ["index", "item", "at", "deleted", "first", "last", "end", "key_0", "row", "version", "fact", "literal"]
        frame = events(event(1), event(2)).with_columns(pl.lit(1).alias(name) for name in names)
        history = fold(frame, KEY)
        facts = events(event(1)).select("item_id", sold_at="ts", start="ts")
        assert versions(history, *names) == [(*[1] * len(names), 1, None)]
        assert join_as_of(facts, history, KEY, "sold_at").height == 1

    def test_missing_columns_and_wrong_types_are_named(self) -> None:
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


HISTORY = fold(events(event(1, "a"), event(3, "b"), delete(5), event(7, "c"), event(1, "z", item_id="i2")), KEY)


class TestAsOf:
    @pytest.mark.parametrize(
        ("at", "names"),
        [(0.9, []), (1, ["a", "z"]), (2.9, ["a", "z"]), (3, ["b", "z"]), (5, ["z"]), (6, ["z"]), (7, ["c", "z"])],
    )
    def test_a_version_holds_from_its_start_until_before_its_end(self, at: float, names: list[str]) -> None:
        held = as_of(HISTORY, day(at))
        assert held["name"].to_list() == names
        assert held.columns == HISTORY.columns


class TestJoin:
    def facts(self, *rows: tuple[str | None, float | None]) -> pl.DataFrame:
        moments = [(item, None if at is None else day(at)) for item, at in rows]
        return pl.DataFrame(moments, schema={"item_id": pl.String, "sold_at": INSTANT}, orient="row")

    def test_each_fact_gets_the_version_of_its_time_in_the_order_of_the_facts(self) -> None:
        facts = self.facts(("i1", 8), ("i1", 1), ("i2", 1.5), ("i1", 3), ("i1", 2.9), ("i1", 1))
        joined = join_as_of(facts, HISTORY, KEY, "sold_at")
        assert joined.columns == ["item_id", "sold_at", "name", "cost", "effective_date", "end_date", "current_flag"]
        assert joined.select(facts.columns).equals(facts)
        assert joined["name"].to_list() == ["c", "a", "z", "b", "a", "a"]

    def test_facts_with_no_version_stay_with_nulls(self) -> None:
        facts = self.facts(("i1", 0.5), ("i1", 5), ("i1", 6), ("i9", 1), (None, 1), ("i1", None))
        joined = join_as_of(facts, HISTORY, KEY, "sold_at")
        assert joined.drop(facts.columns).rows() == [(None,) * 5] * facts.height

    def test_no_facts_and_no_history_are_no_error(self) -> None:
        facts = self.facts(("i1", 1))
        assert join_as_of(facts.clear(), HISTORY, KEY, "sold_at").height == 0
        assert join_as_of(facts, HISTORY.clear(), KEY, "sold_at")["name"].to_list() == [None]

    def test_keys_of_several_columns(self) -> None:
        frame = events(event(1, "x"), event(1, "y")).with_columns(shop=pl.Series([1, 2]))
        facts = self.facts(("i1", 2), ("i1", 2)).with_columns(shop=pl.Series([2, 1]))
        key = ["shop", "item_id"]
        assert join_as_of(facts, fold(frame, key), key, "sold_at")["name"].to_list() == ["y", "x"]

    def test_removing_an_item_changes_nothing_about_the_past(self) -> None:
        facts = self.facts(("i2", 2), ("i2", 3))
        after = fold(concat_events([events_from_history(HISTORY, KEY), events(delete(4, item_id="i2"))], KEY), KEY)
        joined = [join_as_of(facts, history, KEY, "sold_at")["name"].to_list() for history in (HISTORY, after)]
        assert joined == [["z", "z"], ["z", "z"]]

    def test_what_cannot_be_joined_is_said(self) -> None:
        facts = self.facts(("i1", 1))
        for wrong, at, said in [
            (facts, "bought_at", "lack bought_at"),
            (facts.with_columns(name=1), "sold_at", "taken: name"),
            (facts.with_columns(item_id=1), "sold_at", "item_id is Int32 and String"),
            (facts.with_columns(pl.col("sold_at").dt.replace_time_zone(None)), "sold_at", "without a zone"),
        ]:
            with pytest.raises(ValueError, match=said):
                join_as_of(wrong, HISTORY, KEY, at)


class TestSnapshots:
    def rows(self, **names: str | None) -> pl.DataFrame:
        return pl.DataFrame(list(names.items()), schema={"item_id": pl.String, "name": pl.String}, orient="row")

    def test_what_is_there_is_an_upsert_and_what_lives_and_is_absent_a_delete(self) -> None:
        made = events_from_snapshot(self.rows(i1="a", i3="new"), self.rows(i1="a", i2="b"), KEY, day(2))
        assert made.columns == ["item_id", "name", "op", "ts", "seq", "batch_id"]
        assert made.select("item_id", "name", "op", "ts").rows() == [
            ("i1", "a", "upsert", day(2)),
            ("i3", "new", "upsert", day(2)),
            ("i2", None, "delete", day(2)),
        ]
        assert made.select("seq", "batch_id").null_count().row(0) == (3, 3)

    @pytest.mark.parametrize(
        "scope",
        [pl.col("item_id").is_in(["i1", "i2"]), pl.DataFrame({"item_id": ["i1", "i2", "i9"]})],
        ids=["expression", "keys"],
    )
    def test_with_a_scope_absence_means_deletion_inside_it_only(self, scope: pl.Expr | pl.DataFrame) -> None:
        live = self.rows(i1="a", i2="b", i3="c")
        made = events_from_snapshot(self.rows(i1="a"), live, KEY, day(2), scope)
        assert made.select("item_id", "op").rows() == [("i1", "upsert"), ("i2", "delete")]

    def test_a_scope_may_be_of_any_column_of_the_live_rows(self) -> None:
        live = as_of(HISTORY, day(2))
        made = events_from_snapshot(self.rows(), live, KEY, day(2), pl.col("name") == "z")
        assert made.select("item_id", "op").rows() == [("i2", "delete")]

    def test_a_late_snapshot_is_judged_by_what_lived_then(self) -> None:
        log = events_from_history(HISTORY, KEY)
        late = events_from_snapshot(self.rows(i2="z"), as_of(HISTORY, day(4)), KEY, day(4))
        history = fold(concat_events([log, late], KEY), KEY)
        assert [row for row in versions(history) if row[0] != "z"] == [("a", 1, 3), ("b", 3, 4), ("c", 7, None)]

    def test_a_repeat_in_a_snapshot_is_remembered(self) -> None:
        log = events(event(1, "a")).drop("cost")
        shown = events_from_snapshot(self.rows(i1="a"), as_of(fold(log, KEY), day(3)), KEY, day(3))
        late = events(event(2, "b")).drop("cost")
        assert versions(fold(concat_events([log, shown, late], KEY), KEY)) == [("a", 1, 2), ("b", 2, 3), ("a", 3, None)]

    def test_an_empty_snapshot_deletes_what_lives(self) -> None:
        made = events_from_snapshot(self.rows(), self.rows(i1="a"), KEY, day(2))
        assert made.select("item_id", "op").rows() == [("i1", "delete")]

    def test_what_is_no_snapshot_is_refused(self) -> None:
        rows, live = self.rows(i1="a"), self.rows(i2="b")
        for wrong, standing, at, scope, said in [
            (pl.concat([rows, rows]), live, day(2), None, "2 rows of the snapshot share their key"),
            (rows.with_columns(op=1), live, day(2), None, "taken: op"),
            (rows.with_columns(end_date=1), live, day(2), None, "taken: end_date"),
            (rows, live.with_columns(item_id=2), day(2), None, "item_id is String and Int32"),
            (rows, live.drop("item_id"), day(2), None, "Live rows lack item_id"),
            (rows, live, datetime(2026, 3, 2), None, "no time zone"),
            (rows, live, day(2), pl.col("region") == "eu", "does not fit the live rows"),
            (rows, live, day(2), pl.DataFrame({"region": ["eu"]}), "does not fit the live rows"),
        ]:
            with pytest.raises(ValueError, match=said):
                events_from_snapshot(wrong, standing, KEY, at, scope)


class TestIncremental:
    def test_the_events_of_a_history_are_the_least_that_fold_to_it(self) -> None:
        made = events_from_history(HISTORY, KEY)
        assert made.height == 5
        assert fold(made, KEY).equals(HISTORY)

    def test_touched_are_the_keys_of_the_events_that_count_each_once(self) -> None:
        rows = [event(1, item_id="i2"), event(2), event(3), event(None, item_id="i3"), event(1, item_id=None)]
        assert touched(events(*rows), KEY).rows() == [("i1",), ("i2",)]

    def test_changes_are_the_versions_to_take_away_and_those_to_bring(self) -> None:
        before = fold(events(event(1, "a"), event(5, "c")), KEY)
        after = fold(events(event(1, "a"), event(5, "c"), event(3, "b")), KEY)
        gone, new = changes(before, after, KEY)
        assert versions(gone) == [("a", 1, 5)]
        assert versions(new) == [("a", 1, 3), ("b", 3, 5)]

    def test_a_refold_that_changes_nothing_has_nothing_to_rewrite(self) -> None:
        repeated = fold(concat_events([events_from_history(HISTORY, KEY), events(event(8, "c"))], KEY), KEY)
        assert [part.height for part in changes(HISTORY, repeated, KEY)] == [0, 0]

    def test_a_new_column_of_nulls_is_no_change_and_one_with_a_value_is(self) -> None:
        same = HISTORY.with_columns(colour=pl.lit(None, pl.String))
        assert [part.height for part in changes(HISTORY, same, KEY)] == [0, 0]
        red = HISTORY.with_columns(colour=pl.when(pl.col("name") == "c").then(pl.lit("red")))
        assert [part["name"].to_list() for part in changes(HISTORY, red, KEY)] == [["c"], ["c"]]
