"""The history of item versions by plain Python, one item and one event after the other: slow, and easy to believe.

It shares no line with transforms/scd2. Events and versions are dicts, as polars' `to_dicts` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Row = dict[str, Any]
NOT_ATTRIBUTES = {"op", "ts", "seq", "batch_id", "effective_date", "end_date", "current_flag"}


def history(events: Sequence[Row], key: Sequence[str], tracked: Sequence[str] | None = None) -> list[Row]:
    """Versions sorted by key and time, from events in order of arrival."""
    by_item: dict[tuple[Any, ...], list[Row]] = {}
    for event in without_replays(events):
        identity = tuple(event[name] for name in key)
        if None not in identity and event["ts"] is not None and event["op"] in ("upsert", "delete"):
            by_item.setdefault(identity, []).append(event)
    return [version for identity in sorted(by_item) for version in versions(by_item[identity], key, tracked)]


def without_replays(events: Sequence[Row]) -> list[Row]:
    """Events of batches whose id had not come before the batch began."""
    kept: list[Row] = []
    seen: set[Any] = set()
    current, counts = None, True
    for event in events:
        batch = event["batch_id"]
        if batch is None or batch != current:
            counts = batch is None or batch not in seen
            seen.add(batch)
            current = batch
        if counts:
            kept.append(event)
    return kept


def versions(events: Sequence[Row], key: Sequence[str], tracked: Sequence[str] | None) -> list[Row]:
    """Versions of one item: walk its instants in order, and open, lengthen or close."""
    found: list[Row] = []
    living: Row | None = None
    for instant in sorted({event["ts"] for event in events}):
        event = said_at(events, instant)
        values = {name: value for name, value in event.items() if name not in NOT_ATTRIBUTES}
        compared = [name for name in values if name not in key] if tracked is None else tracked
        if event["op"] == "delete":
            if living is not None:
                living.update(end_date=instant, current_flag=False)
            living = None
        elif living is not None and all(same(living[name], values[name]) for name in compared):
            living.update(values)
        else:
            if living is not None:
                living.update(end_date=instant, current_flag=False)
            living = {**values, "effective_date": instant, "end_date": None, "current_flag": True}
            found.append(living)
    return found


def said_at(events: Sequence[Row], instant: datetime) -> Row:
    """The event that counts at an instant: the highest seq, none being lowest; among equals the last to arrive."""
    best: Row | None = None
    for event in events:
        if event["ts"] == instant and (best is None or not lower(event["seq"], best["seq"])):
            best = event
    assert best is not None
    return best


def lower(one: int | None, other: int | None) -> bool:
    return other is not None and (one is None or one < other)


def same(one: Any, other: Any) -> bool:
    """Null is itself and nothing else, and so is NaN."""
    if one is None or other is None:
        return one is other
    return one == other or (one != one and other != other)


def held_at(events: Sequence[Row], at: datetime) -> Row | None:
    """The values of one item at an instant, straight from its events: what the last one until then says."""
    until = [event for event in events if event["ts"] <= at]
    if not until:
        return None
    event = said_at(until, max(event["ts"] for event in until))
    if event["op"] == "delete":
        return None
    return {name: value for name, value in event.items() if name not in NOT_ATTRIBUTES}
