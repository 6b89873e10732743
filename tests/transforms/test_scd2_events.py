"""Which events count: rejected ones, replayed batches, snapshots and histories as events; docs/scd2.md."""

from __future__ import annotations

import polars as pl
import pytest

from tests.transforms.item_events import HISTORY, KEY, day, delete, event, events, folded, versions
from transforms.scd2 import (
    as_of,
    check_events,
    concat_events,
    events_from_history,
    events_from_snapshot,
    fold,
    split_replays,
)


def test_a_batch_id_seen_before_is_a_no_op_whatever_the_later_batch_holds() -> None:
    first, second = event(1, "a", batch_id="one"), event(2, "b", batch_id="two")
    again = [event(2, "c", batch_id="one"), event(3, "d", batch_id="one", item_id="i2")]
    assert folded(first, second, *again) == folded(first, second)


def test_a_replay_does_not_win_a_tie_that_it_had_lost() -> None:
    lost, won = event(1, "lost", batch_id="one"), event(1, "won", batch_id="two")
    assert folded(lost, won, lost) == [("won", 1, None)]


def test_a_batch_right_behind_itself_is_one_batch() -> None:
    batch = [event(1, "a", batch_id="one"), event(1, "b", batch_id="one")]
    assert folded(*batch, *batch) == [("b", 1, None)]


def test_events_without_a_batch_are_never_a_replay() -> None:
    alone, batch = [event(1, "a"), event(3, "c")], event(2, "b", batch_id="one")
    again = event(4, "d", batch_id="one")
    assert folded(alone[0], batch, alone[1], again) == [("a", 1, 2), ("b", 2, 3), ("c", 3, None)]


@pytest.mark.parametrize("kind", [pl.Int32, pl.UInt64])
def test_batch_ids_may_be_numbers(kind: type[pl.DataType]) -> None:
    frame = events(event(1), event(2)).with_columns(batch_id=pl.Series([7, 8], dtype=kind))
    assert split_replays(frame, seen=[7])[1]["ts"].to_list() == [day(1)]


def test_a_batch_known_from_earlier_frames_is_a_replay_and_one_of_this_frame_too() -> None:
    ids = ["old", "new", None, "new"]
    frame = events(*(event(number, batch_id=batch) for number, batch in enumerate(ids, 1)))
    fresh, replayed = split_replays(frame, seen={"old"})
    assert fresh["ts"].to_list() == [day(2), day(3)]
    assert replayed["ts"].to_list() == [day(1), day(4)]


def test_ids_of_another_type_than_those_seen_before_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_id is of type String"):
        split_replays(events(event(1, batch_id="1")), seen=[1])


def test_a_batch_whose_every_event_was_rejected_has_been_seen() -> None:
    bad, good = event(1, op="remove", batch_id="one"), event(1, batch_id="one")
    assert folded(bad, event(2, "b", batch_id="two"), good) == [("b", 2, None)]


def test_seq_and_batch_id_may_be_left_out() -> None:
    frame = events(event(1, "a"), event(2, "b"))
    assert fold(frame.drop("seq", "batch_id"), KEY).equals(fold(frame, KEY))


def test_bad_events_are_rejected_singly_with_a_reason_and_the_rest_applies() -> None:
    good, later = event(1, "a"), event(2, "b")
    bad = [event(1, item_id=None), event(None), event(1, op="DELETE"), event(1, op=None)]
    frame = events(good, *bad, later)
    accepted, rejected = check_events(frame, KEY)
    assert accepted.equals(events(good, later))
    assert rejected.drop("reason").equals(events(*bad))
    assert rejected["reason"].to_list() == ["null_key", "null_ts", "bad_op", "bad_op"]
    assert fold(frame, KEY).equals(fold(accepted, KEY))


def test_one_null_part_makes_a_null_key() -> None:
    frame = events(event(1)).with_columns(shop=pl.lit(None, pl.Int64))
    assert check_events(frame, ["shop", "item_id"])[1]["reason"].to_list() == ["null_key"]


def test_the_first_reason_that_holds_is_given() -> None:
    frame = events(event(None, item_id=None, op="x"), event(None, op="x"))
    assert check_events(frame, KEY)[1]["reason"].to_list() == ["null_key", "null_ts"]


def test_an_op_of_few_values_is_a_text_like_any() -> None:
    frame = events(event(1), delete(2))
    for kind in (pl.Categorical, pl.Enum(["delete", "upsert"])):
        assert fold(frame.with_columns(pl.col("op").cast(kind)), KEY).equals(fold(frame, KEY))


def test_a_seq_and_a_batch_id_of_nothing_but_null_are_none() -> None:
    frame = events(event(1, "a"), event(2, "b"))
    untyped = frame.with_columns(seq=None, batch_id=None)
    assert split_replays(untyped, seen=["one"])[0].equals(untyped)
    assert fold(untyped, KEY).equals(fold(frame, KEY))


def test_columns_of_nothing_but_null_are_judged_too() -> None:
    frame = pl.DataFrame({"item_id": ["i1"], "op": [None], "ts": [None], "seq": [None], "batch_id": [None]})
    assert check_events(frame, KEY)[1]["reason"].to_list() == ["null_ts"]


def snapshot(**names: str | None) -> pl.DataFrame:
    return pl.DataFrame(list(names.items()), schema={"item_id": pl.String, "name": pl.String}, orient="row")


def test_what_is_there_is_an_upsert_and_what_lives_and_is_absent_a_delete() -> None:
    made = events_from_snapshot(snapshot(i1="a", i3="new"), snapshot(i1="a", i2="b"), KEY, day(2))
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
def test_with_a_scope_absence_means_deletion_inside_it_only(scope: pl.Expr | pl.DataFrame) -> None:
    live = snapshot(i1="a", i2="b", i3="c")
    made = events_from_snapshot(snapshot(i1="a"), live, KEY, day(2), scope)
    assert made.select("item_id", "op").rows() == [("i1", "upsert"), ("i2", "delete")]


def test_a_scope_may_be_of_any_column_of_the_live_rows() -> None:
    live = as_of(HISTORY, day(2))
    made = events_from_snapshot(snapshot(), live, KEY, day(2), pl.col("name") == "z")
    assert made.select("item_id", "op").rows() == [("i2", "delete")]


def test_a_late_snapshot_is_judged_by_what_lived_then() -> None:
    log = events_from_history(HISTORY, KEY)
    late = events_from_snapshot(snapshot(i2="z"), as_of(HISTORY, day(4)), KEY, day(4))
    history = fold(concat_events([log, late], KEY), KEY)
    assert [row for row in versions(history) if row[0] != "z"] == [("a", 1, 3), ("b", 3, 4), ("c", 7, None)]


def test_a_repeat_in_a_snapshot_is_remembered() -> None:
    log = events(event(1, "a")).drop("cost")
    shown = events_from_snapshot(snapshot(i1="a"), as_of(fold(log, KEY), day(3)), KEY, day(3))
    late = events(event(2, "b")).drop("cost")
    assert versions(fold(concat_events([log, shown, late], KEY), KEY)) == [("a", 1, 2), ("b", 2, 3), ("a", 3, None)]


def test_an_empty_snapshot_deletes_what_lives() -> None:
    made = events_from_snapshot(snapshot(), snapshot(i1="a"), KEY, day(2))
    assert made.select("item_id", "op").rows() == [("i1", "delete")]


def test_what_is_no_snapshot_is_refused() -> None:
    rows, live = snapshot(i1="a"), snapshot(i2="b")
    for wrong, standing, at, scope, said in [
        (pl.concat([rows, rows]), live, day(2), None, "2 rows of the snapshot share their key"),
        (rows.with_columns(op=1), live, day(2), None, "taken: op"),
        (rows.with_columns(end_date=1), live, day(2), None, "taken: end_date"),
        (rows, live.with_columns(item_id=2), day(2), None, "item_id is String and Int32"),
        (rows, live.drop("item_id"), day(2), None, "Live rows lack item_id"),
        (rows, live, day(2).replace(tzinfo=None), None, "no time zone"),
        (rows, live, day(2), pl.col("region") == "eu", "does not fit the live rows"),
        (rows, live, day(2), pl.DataFrame({"region": ["eu"]}), "does not fit the live rows"),
    ]:
        with pytest.raises(ValueError, match=said):
            events_from_snapshot(wrong, standing, KEY, at, scope)
