"""The checker finds what is wrong: a lake that keeps every promise breaks none, and each broken promise is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from resources.lake import Lake
from tests.resources.upkeep.test_purging import rows
from tests.soak.checking import unjudged, wrong_items
from tests.soak.traffic import Change, Changes
from transforms.shop_tables import ITEM_EVENTS
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

DAY = datetime(2026, 11, 30, tzinfo=UTC).date()


def sealed(offset: int, id: str) -> dict[str, Any]:
    headers = [{"key": "id", "value": id.encode()}, {"key": "via", "value": b"uploads"}]
    return {"offset": offset, "headers": headers, "payload_sha256": bytes([offset]) * 32}


def plain(offset: int, body: int) -> dict[str, Any]:
    return {"offset": offset, "headers": [], "payload_sha256": bytes([body]) * 32}


def put(home: Path, spec: Any, given: list[dict[str, Any]]) -> None:
    (model,) = rows(spec, DAY, DAY, range(1)).to_pylist()
    made = [{**model, **{name: value for name, value in one.items() if name in model}} for one in given]
    lake = Lake(str(home))
    lake.append(lake.ensure(spec), spec, pa.Table.from_pylist(made, schema=spec.schema), {"w": len(given)})


GOOD = {
    "raw": [sealed(0, "a"), sealed(1, "a"), sealed(2, "b"), plain(3, 40), plain(4, 40), plain(5, 50)],
    "processed": [{"offset": 0, "id": "a"}, {"offset": 3, "id": "p"}],
    "quarantined": [
        {"offset": 2, "reason": "corrupt", "detail": "x"},
        {"offset": 5, "reason": "tombstone", "detail": "x"},
    ],
}
"""A resend of an image that was sealed, and one of an image that was not; one refused of each kind."""


def lake(home: Path, **changes: list[dict[str, Any]]) -> str:
    given = {**GOOD, **changes}
    put(home, RAW_IMAGES, given["raw"])
    put(home, PROCESSED_IMAGES, given["processed"])
    put(home, QUARANTINED_IMAGES, given["quarantined"])
    return str(home)


def test_records_that_were_judged_break_nothing(tmp_path: Path) -> None:
    assert list(unjudged(lake(tmp_path))) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"raw": [*GOOD["raw"], sealed(6, "c")]}, "1 records were neither developed nor rejected"),
        ({"raw": [*GOOD["raw"], plain(6, 60)]}, "'offset': 6"),
        ({"processed": GOOD["processed"][1:]}, "2 records were neither"),
        ({"quarantined": [GOOD["quarantined"][0], {"offset": 5, "reason": "", "detail": "x"}]}, "have no reason"),
    ],
)
def test_a_record_without_a_verdict_and_one_without_a_reason_are_found(
    tmp_path: Path, changes: dict[str, list[dict[str, Any]]], told: str
) -> None:
    assert told in "; ".join(unjudged(lake(tmp_path, **changes)))


ONE, TWO = Change("soak-1", "upsert", Decimal(1)), Change("soak-1", "upsert", Decimal(2))
END = Change("soak-1", "delete", None)
LOST = Change("soak-2", "upsert", Decimal(3))


def events(home: Path, changes: list[Change]) -> str:
    given = [
        {"item_id": one.item, "op": one.op, "cost": one.cost or Decimal(2), "arrival": number}
        for number, one in enumerate([*changes, Change("another", "upsert", Decimal(9))])
    ]
    (model,) = item_rows()
    made = [{**model, **one} for one in given]
    tables = Lake(str(home))
    tables.append(
        tables.ensure(ITEM_EVENTS), ITEM_EVENTS, pa.Table.from_pylist(made, schema=ITEM_EVENTS.schema), {"w": 1}
    )
    return str(home)


def item_rows() -> list[dict[str, Any]]:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    kinds: list[tuple[Callable[[pa.DataType], bool], Any]] = [
        (pa.types.is_timestamp, now),
        (pa.types.is_integer, 1),
        (pa.types.is_decimal, Decimal(1)),
        (pa.types.is_string, "x"),
    ]
    return [{field.name: next(value for of, value in kinds if of(field.type)) for field in ITEM_EVENTS.schema}]


def test_events_that_are_the_commits_break_nothing_whatever_became_of_a_lost_answer(tmp_path: Path) -> None:
    told = [Changes([ONE, TWO, END], [LOST])]
    assert list(wrong_items(events(tmp_path / "with", [ONE, TWO, LOST, END]), "soak", told)) == []
    assert list(wrong_items(events(tmp_path / "without", [ONE, TWO, END]), "soak", told)) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([ONE, END], "1 committed changes are no event"),
        ([ONE, TWO, TWO, END], "1 changes are more than one event"),
        ([ONE, TWO, END, LOST, Change("soak-9", "upsert", Decimal(4))], "1 events are of no change"),
        ([TWO, ONE, END], "not in the order of its commits"),
    ],
)
def test_a_lost_doubled_invented_or_reordered_change_is_found(tmp_path: Path, found: list[Change], told: str) -> None:
    said = "; ".join(wrong_items(events(tmp_path, found), "soak", [Changes([ONE, TWO, END], [LOST])]))
    assert told in said
