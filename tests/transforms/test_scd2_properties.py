"""Random histories against the oracle: the fold, its order of arrival, batches, snapshots, and questions to a history.

A frame holds about a hundred items, each with a history of its own, so that `MANY` examples of a property are ten
thousand histories; a property that folds often has fewer. They are made of bytes, which hypothesis draws
quickly and shrinks well: seven a row, from small domains, so that ties, repeats, gaps and nulls are common.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transforms import scd2_oracle as oracle
from transforms.scd2 import (
    as_of,
    changes,
    concat_events,
    events_from_history,
    events_from_snapshot,
    fold,
    join_as_of,
    split_replays,
    touched,
)

KEY = ["shop", "item_id"]
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANTS = 12
ITEMS = 100
ROWS = 700
MANY = 102
_WIDTH = 7
SCHEMA = {
    "shop": pl.String,
    "item_id": pl.Int64,
    "name": pl.String,
    "cost": pl.Float64,
    "op": pl.String,
    "ts": pl.Datetime("us", "UTC"),
    "seq": pl.Int64,
    "batch_id": pl.String,
}
NAMES = ["", "a", "b", None]
COSTS = [None, 30.0, float("nan"), 1.5]
TRACKED: list[list[str] | None] = [None, ["name"], ["cost"], []]

full_histories = st.binary(min_size=ROWS * _WIDTH, max_size=ROWS * _WIDTH)
orders = st.integers(0, 2**32).map(random.Random)


def property_of(examples: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return lambda test: settings(max_examples=examples, deadline=None, suppress_health_check=quiet)(
        given(**strategies)(test)
    )


def event_rows(drawn: bytes) -> list[dict[str, Any]]:
    """Events in order of arrival, in batches of some rows."""
    rows = []
    batch = 0
    for at in range(0, len(drawn) - _WIDTH + 1, _WIDTH):
        item, instant, kind, seq, name, cost, ends = drawn[at : at + _WIDTH]
        rows.append(
            {
                # Two columns that read the same when they are written one behind the other: a1|1 and a|11.
                "shop": ["a", "a1"][item % ITEMS % 2],
                "item_id": item % ITEMS // 2,
                "name": NAMES[name % 4],
                "cost": COSTS[cost % 4],
                "op": "delete" if kind % 4 == 0 else "upsert",
                "ts": START + timedelta(hours=instant % INSTANTS),
                "seq": [None, None, 1, 2][seq % 4],
                "batch_id": f"batch-{batch}",
            }
        )
        batch += ends % 128 == 0
    return rows


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def batches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["batch_id"], []).append(row)
    return list(found.values())


def untied(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events, each with a seq and a batch of its own: nothing is left for the order of arrival to decide."""
    return [{**row, "seq": number, "batch_id": str(number)} for number, row in enumerate(rows)]


def agrees(history: pl.DataFrame, expected: list[dict[str, Any]]) -> None:
    columns = [name for name in SCHEMA if name not in ("op", "ts", "seq", "batch_id")]
    schema = {**{name: SCHEMA[name] for name in columns}, "effective_date": SCHEMA["ts"], "end_date": SCHEMA["ts"]}
    wanted = pl.DataFrame(expected, schema={**schema, "current_flag": pl.Boolean})
    assert history.equals(wanted), f"{history.to_dicts()} is not {expected}"


@property_of(MANY, drawn=full_histories, tracked=st.sampled_from(TRACKED))
def test_ten_thousand_histories_fold_as_the_oracle_says(drawn: bytes, tracked: list[str] | None) -> None:
    rows = event_rows(drawn)
    agrees(fold(frame(rows), KEY, tracked), oracle.history(rows, KEY, tracked))


@property_of(200, drawn=st.binary(max_size=12 * _WIDTH), tracked=st.sampled_from(TRACKED))
def test_few_events_fold_as_the_oracle_says(drawn: bytes, tracked: list[str] | None) -> None:
    rows = [{**row, "shop": "a", "item_id": 1} for row in event_rows(drawn)]
    agrees(fold(frame(rows), KEY, tracked), oracle.history(rows, KEY, tracked))


@property_of(MANY, drawn=full_histories, order=orders, tracked=st.sampled_from(TRACKED))
def test_any_order_of_arrival_gives_the_same_history(
    drawn: bytes, order: random.Random, tracked: list[str] | None
) -> None:
    rows = untied(event_rows(drawn))
    shuffled = order.sample(rows, len(rows))
    assert fold(frame(shuffled), KEY, tracked).equals(fold(frame(rows), KEY, tracked))


@property_of(MANY, drawn=full_histories, order=orders)
def test_shuffled_ties_go_to_the_last_arrival_as_in_the_oracle(drawn: bytes, order: random.Random) -> None:
    rows = event_rows(drawn)
    shuffled = [{**row, "batch_id": None} for row in order.sample(rows, len(rows))]
    agrees(fold(frame(shuffled), KEY), oracle.history(shuffled, KEY))


@property_of(MANY, drawn=full_histories, order=orders)
def test_replayed_batches_change_nothing_whatever_they_hold(drawn: bytes, order: random.Random) -> None:
    rows = event_rows(drawn)
    came = batches(rows)
    replayed: list[list[dict[str, Any]]] = []
    for number, batch in enumerate(came):
        replayed.append(batch)
        if number and order.random() < 0.5:
            other = order.choice(came[:number])
            replayed.append([{**row, "name": "replayed", "ts": START} for row in other])
    flat = [row for batch in replayed for row in batch]
    assert fold(frame(flat), KEY).equals(fold(frame(rows), KEY))
    agrees(fold(frame(flat), KEY), oracle.history(flat, KEY))


@property_of(MANY // 4, drawn=full_histories, order=orders, tracked=st.sampled_from(TRACKED))
def test_folding_the_touched_keys_of_each_batch_gives_what_a_full_rebuild_gives(
    drawn: bytes, order: random.Random, tracked: list[str] | None
) -> None:
    came = batches(event_rows(drawn))
    came += order.sample(came, len(came) // 2)
    seen: set[str] = set()
    log, standing = frame([]), fold(frame([]), KEY, tracked)
    for batch in came:
        fresh, _ = split_replays(frame(batch), seen)
        seen.update(row["batch_id"] for row in batch)
        keys = touched(fresh, KEY)
        log = pl.concat([log, fresh])
        before = standing.join(keys, on=KEY, how="semi")
        after = fold(log.join(keys, on=KEY, how="semi", maintain_order="left"), KEY, tracked)
        gone, new = changes(before, after, KEY)
        standing = pl.concat([standing.join(gone, on=[*KEY, "effective_date"], how="anti"), new])
    rebuilt = fold(frame([row for batch in came for row in batch]), KEY, tracked)
    assert standing.sort(*KEY, "effective_date").equals(rebuilt)


@property_of(MANY, drawn=full_histories, hours=st.integers(-1, INSTANTS + 1))
def test_as_of_and_the_join_say_what_the_last_event_until_then_says(drawn: bytes, hours: int) -> None:
    rows = event_rows(drawn)
    at = START + timedelta(hours=hours)
    history = fold(frame(rows), KEY)
    by_item: dict[tuple[str, int], list[dict[str, Any]]] = {("elsewhere", 1): []}
    for row in oracle.without_replays(rows):
        by_item.setdefault((row["shop"], row["item_id"]), []).append(row)
    items = sorted(by_item)
    expected = [oracle.held_at(by_item[item], at) for item in items]

    held = as_of(history, at).select(*KEY, "name", "cost")
    assert held.equals(pl.DataFrame([one for one in expected if one is not None], schema=held.schema))

    facts = pl.DataFrame({"shop": [shop for shop, _ in items], "item_id": [item for _, item in items]})
    facts = facts.with_columns(fact=pl.int_range(pl.len()), sold_at=pl.lit(at, dtype=pl.Datetime("us", "UTC")))
    joined = join_as_of(facts, history, KEY, "sold_at")
    assert joined.select(facts.columns).equals(facts)
    known = [one or {"name": None, "cost": None} for one in expected]
    values = pl.DataFrame([{name: one[name] for name in ("name", "cost")} for one in known], schema=held.schema)
    assert joined.select("name", "cost").equals(values.select("name", "cost"))


@property_of(MANY, drawn=full_histories, order=orders)
def test_facts_of_many_instants_each_get_the_version_of_their_own(drawn: bytes, order: random.Random) -> None:
    rows = event_rows(drawn)
    history = fold(frame(rows), KEY)
    asked = [
        (row["shop"], row["item_id"], START + timedelta(hours=order.randrange(-1, INSTANTS + 1)))
        for row in order.sample(rows, len(rows))
    ]
    facts = pl.DataFrame(asked, schema={**{name: SCHEMA[name] for name in KEY}, "sold_at": SCHEMA["ts"]}, orient="row")
    joined = join_as_of(facts, history, KEY, "sold_at")
    assert joined.select(facts.columns).equals(facts)
    standing = history.to_dicts()
    by_item: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for version in standing:
        by_item.setdefault((version["shop"], version["item_id"]), []).append(version)
    for fact in joined.to_dicts():
        holding = [
            version
            for version in by_item.get((fact["shop"], fact["item_id"]), [])
            if version["effective_date"] <= fact["sold_at"]
            and (version["end_date"] is None or fact["sold_at"] < version["end_date"])
        ]
        assert len(holding) <= 1
        found = {name: fact[name] for name in ("name", "effective_date", "end_date", "current_flag")}
        assert found == ({name: holding[0][name] for name in found} if holding else dict.fromkeys(found))


@property_of(MANY, drawn=full_histories, tracked=st.sampled_from(TRACKED))
def test_the_events_of_a_history_fold_to_it(drawn: bytes, tracked: list[str] | None) -> None:
    history = fold(frame(event_rows(drawn)), KEY, tracked)
    assert fold(events_from_history(history, KEY), KEY, tracked).equals(history)


@property_of(MANY // 2, drawn=full_histories, order=orders, scoped=st.booleans())
def test_snapshots_give_back_what_they_showed(drawn: bytes, order: random.Random, scoped: bool) -> None:
    """Successive states of the world, each taken as a snapshot: as_of gives every one of them back."""
    world: dict[tuple[str, int], dict[str, Any]] = {}
    log = concat_events([frame([])], KEY)
    shown: list[tuple[datetime, pl.DataFrame]] = []
    columns = [*KEY, "name", "cost"]
    for number, batch in enumerate(batches(event_rows(drawn))[:8]):
        at = START + timedelta(hours=number)
        shop = order.choice(["a", "a1"])
        for row in batch:
            if scoped and row["shop"] != shop:
                continue
            identity = (row["shop"], row["item_id"])
            if row["op"] == "delete":
                world.pop(identity, None)
            else:
                world[identity] = {name: row[name] for name in columns}
        snapshot = pl.DataFrame(list(world.values()), schema={name: SCHEMA[name] for name in columns})
        live = as_of(fold(log, KEY), at)
        if scoped:
            part = snapshot.filter(pl.col("shop") == shop)
            events = events_from_snapshot(part, live, KEY, at, scope=pl.col("shop") == shop)
        else:
            events = events_from_snapshot(snapshot, live, KEY, at)
        log = concat_events([log, events.with_columns(batch_id=pl.lit(f"snapshot-{number}"))], KEY)
        shown.append((at, snapshot.sort(KEY)))
    history = fold(log, KEY)
    for at, snapshot in shown:
        assert as_of(history, at).select(columns).equals(snapshot)
