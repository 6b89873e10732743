"""The event log and the table of versions that follows it: equal to a full fold, one commit a batch, exactly once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.event_log import EventLog, open_log
from resources.lake import CommitConflict, Lake, LakeUnavailable
from resources.lake_commits import Commits
from resources.version_table import VersionTable
from transforms.scd2 import fold
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

T0 = datetime(2026, 3, 1, tzinfo=UTC)
KEY = ["item_id"]
COLUMNS = ["item_id", "name", "manufacturer", "cost", "weight_kg", "op", "ts", "seq"]
Event = tuple[str, str, int, str | None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def append(lake: Lake, *events: tuple[Any, ...]) -> None:
    """Of (item, op, day, name) and maybe a seq, as one commit."""
    rows = [
        {"item_id": item, "op": op, "ts": T0 + timedelta(days=at), "name": name, "seq": more[0] if more else None}
        for item, op, at, name, *more in events
    ]
    open_log(lake, ITEM_EVENTS).append(frame(rows), {})


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    kinds = pl.DataFrame(ITEM_EVENTS.schema.empty_table()).drop("arrival").schema
    return pl.DataFrame(rows, schema=kinds).with_columns(captured_at=pl.lit(T0).cast(kinds["captured_at"]))


def table(lake: Lake) -> VersionTable:
    return VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY)


def rows(lake: Lake) -> pl.DataFrame:
    return pl.scan_delta(lake.open(DIM_ITEM.name)).collect().sort("item_id", "effective_date")


def versions(lake: Lake) -> list[tuple[str, str | None, int, int | None]]:
    def days(at: datetime | None) -> int | None:
        return None if at is None else (at - T0).days

    return [
        (item, name, (start - T0).days, days(end))
        for item, name, start, end in rows(lake).select("item_id", "name", "effective_date", "end_date").iter_rows()
    ]


def folded(lake: Lake) -> pl.DataFrame:
    return fold(EventLog(lake, ITEM_EVENTS).read().select(COLUMNS), KEY)


def files(lake: Lake) -> set[str]:
    return set(lake.open(DIM_ITEM.name).file_uris())


def batches(chance: random.Random) -> Iterator[list[Event]]:
    """Batches of events: most in order of time, some late, with ties, repeats and deletes of nothing."""
    clock = 40
    for _ in range(6):
        late = chance.random() < 0.4
        batch = []
        for _ in range(chance.randrange(9)):
            clock += chance.randrange(2)
            at = chance.randrange(40) if late else clock
            op = chance.choice(("upsert", "upsert", "delete"))
            batch.append((f"item-{chance.randrange(12)}", op, at, chance.choice("abc"), chance.choice((0, 1, None))))
        yield batch


@pytest.mark.parametrize("seed", range(12))
def test_refreshed_batch_by_batch_it_is_what_a_full_fold_gives(lake: Lake, seed: int):
    for batch in batches(random.Random(seed)):
        if batch:
            append(lake, *batch)
        table(lake).refresh()
        if lake.exists(ITEM_EVENTS.name):
            wanted = folded(lake)
            assert_frame_equal(rows(lake).select(wanted.columns), wanted)


def test_a_rebuild_gives_the_same(lake: Lake):
    for batch in batches(random.Random(7)):
        if batch:
            append(lake, *batch)
            table(lake).refresh()
    before = rows(lake)
    done = table(lake).rebuild()
    assert done.rebuilt
    assert_frame_equal(rows(lake), before)
    assert table(lake).behind == 0


def test_a_late_event_reaches_a_closed_version_and_only_its_item_is_folded_anew(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"), ("film", "upsert", 9, "c"), ("tank", "upsert", 1, "t"))
    table(lake).refresh()
    append(lake, ("film", "upsert", 5, "b"), ("tank", "upsert", 10, "u"))
    done = table(lake).refresh()
    assert (done.late, done.keys) == (1, 2)
    assert versions(lake) == [
        ("film", "a", 1, 5),
        ("film", "b", 5, 9),
        ("film", "c", 9, None),
        ("tank", "t", 1, 10),
        ("tank", "u", 10, None),
    ]


def test_a_late_event_ends_at_a_repeat_that_no_version_shows(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"), ("film", "upsert", 5, "a"))
    table(lake).refresh()
    append(lake, ("film", "upsert", 3, "b"))
    assert table(lake).refresh().late == 1
    assert versions(lake) == [("film", "a", 1, 3), ("film", "b", 3, 5), ("film", "a", 5, None)]


def test_an_event_at_the_instant_of_an_earlier_one_is_late_and_ties_by_arrival(lake: Lake):
    append(lake, ("film", "upsert", 1, "a", 5))
    table(lake).refresh()
    append(lake, ("film", "upsert", 1, "lower", 4))
    assert table(lake).refresh().late == 1
    assert versions(lake) == [("film", "a", 1, None)]


def test_closed_versions_are_not_looked_at_where_nothing_is_late(lake: Lake):
    append(lake, *((f"item-{n}", "upsert", at, f"{at}") for n in range(5) for at in (1, 2, 3)))
    table(lake).refresh()
    closed = {uri for uri in files(lake) if "current_flag=false" in uri}
    append(lake, *((f"item-{n}", "upsert", 4, "4") for n in range(5)))
    done = table(lake).refresh()
    assert (done.versions_gone, done.versions_new, done.files_rewritten) == (5, 10, 1)
    assert closed < files(lake)


def test_only_files_that_hold_a_touched_item_are_rewritten(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("resources.version_table.FILE_ROWS", 10)
    append(lake, *((f"item-{n:03}", "upsert", 1, "a") for n in range(100)))
    table(lake).refresh()
    before = files(lake)
    append(lake, ("item-055", "upsert", 2, "b"), ("new", "upsert", 2, "n"), ("item-051", "delete", 2, None))
    assert table(lake).refresh().files_rewritten == 1
    assert len(before - files(lake)) == 1
    wanted = folded(lake)
    assert_frame_equal(rows(lake).select(wanted.columns), wanted)
    # An item's new version lies where its last one lay, so that files stay sorted by key.
    (home,) = [
        one
        for one in files(lake) - before
        if "item-055" in pl.read_parquet(one)["item_id"] and "current_flag=true" in one
    ]
    assert pl.read_parquet(home)["item_id"].min() == "item-050"


def test_it_is_read_whole_while_it_is_written(lake: Lake):
    append(lake, *((f"item-{n}", "upsert", 1, "a") for n in range(20)))
    table(lake).refresh()
    reader = lake.open(DIM_ITEM.name)
    append(lake, *((f"item-{n}", "upsert", 2, "b") for n in range(20)))
    before = pl.scan_delta(reader).collect()
    table(lake).refresh()
    assert_frame_equal(pl.scan_delta(reader).collect(), before)
    assert rows(lake).height == 40
    assert lake.open(DIM_ITEM.name).version() == reader.version() + 1


def test_nothing_new_is_no_commit_and_repeats_alone_bring_no_version(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"))
    table(lake).refresh()
    version = lake.open(DIM_ITEM.name).version()
    assert table(lake).refresh().events == 0
    assert lake.open(DIM_ITEM.name).version() == version
    append(lake, ("film", "upsert", 2, "a"))
    done = table(lake).refresh()
    assert (done.events, done.versions_gone, done.versions_new) == (1, 0, 0)
    assert table(lake).behind == 0


def test_killed_before_its_commit_the_next_refresh_brings_it(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    append(lake, ("film", "upsert", 1, "a"))
    table(lake).refresh()
    append(lake, ("film", "upsert", 2, "b"))

    def killed(*_: object) -> None:
        raise LakeUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Commits, "_put", killed)
        with pytest.raises(LakeUnavailable):
            table(lake).refresh()
    assert versions(lake) == [("film", "a", 1, None)]
    table(lake).refresh()
    assert versions(lake) == [("film", "a", 1, 2), ("film", "b", 2, None)]


def test_of_two_refreshes_at_once_one_conflicts_and_nothing_stands_twice(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"))
    table(lake).refresh()
    append(lake, ("film", "upsert", 2, "b"), ("tank", "upsert", 2, "t"))
    first, second = table(lake), table(lake)
    first.refresh()
    with pytest.raises(CommitConflict):
        second.refresh()
    assert table(lake).refresh().events == 0
    wanted = folded(lake)
    assert_frame_equal(rows(lake).select(wanted.columns), wanted)


def test_of_two_first_refreshes_at_once_one_conflicts(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"))
    first, second = table(lake), table(lake)
    first.refresh()
    with pytest.raises(CommitConflict):
        second.refresh()
    assert versions(lake) == [("film", "a", 1, None)]


def test_events_are_numbered_over_commits_and_two_writers_do_not_take_the_same_numbers(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"), ("film", "upsert", 2, "b"))
    append(lake, ("film", "upsert", 3, "c"))
    first, second = EventLog(lake, ITEM_EVENTS), EventLog(lake, ITEM_EVENTS)
    one = frame([{"item_id": "x", "op": "upsert", "ts": T0}])
    first.append(one, {"source": 1})
    with pytest.raises(CommitConflict):
        second.append(one, {"source": 1})
    first.append(one, {"source": 2})
    assert EventLog(lake, ITEM_EVENTS).read()["arrival"].to_list() == [0, 1, 2, 3, 4]


def test_a_log_that_was_begun_anew_has_its_followers_build_themselves_anew(lake: Lake):
    append(lake, ("film", "upsert", 1, "a"), ("gone", "upsert", 1, "g"))
    table(lake).refresh()
    EventLog(lake, ITEM_EVENTS).restart(frame([{"item_id": "film", "op": "upsert", "ts": T0, "name": "z"}]), {}, "why")
    assert table(lake).behind == 3
    assert table(lake).refresh().rebuilt
    assert versions(lake) == [("film", "z", 0, None)]
    append(lake, ("film", "upsert", 1, "y"))
    assert not table(lake).refresh().rebuilt
    assert versions(lake) == [("film", "z", 0, 1), ("film", "y", 1, None)]
    assert EventLog(lake, ITEM_EVENTS).read()["arrival"].to_list() == [2, 3]
