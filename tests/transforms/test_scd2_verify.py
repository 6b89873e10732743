"""The counts of what is wrong with a history: zero for what fold gives, and each fault is counted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import polars as pl
import pytest

from transforms.scd2 import fold
from transforms.scd2_verify import faults

HISTORY = {
    "item": pl.String(),
    "effective_date": pl.Datetime("us", "UTC"),
    "end_date": pl.Datetime("us", "UTC"),
    "current_flag": pl.Boolean(),
}


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def history(*rows: tuple[str, int, int | None] | tuple[str, int, int | None, bool]) -> pl.DataFrame:
    full = [
        (one[0], day(one[1]), None if one[2] is None else day(one[2]), one[3] if len(one) == 4 else one[2] is None)
        for one in rows
    ]
    return pl.DataFrame(full, schema=HISTORY, orient="row")


def events(*deletes: tuple[str, int]) -> pl.DataFrame:
    rows = [(item, "delete", day(at)) for item, at in deletes]
    return pl.DataFrame(rows, schema={"item": pl.String(), "op": pl.String(), "ts": HISTORY["end_date"]}, orient="row")


def counted(versions: pl.DataFrame, told: pl.DataFrame) -> dict[str, int]:
    return {name: count for name, count in asdict(faults(versions, told, ["item"])).items() if count}


def test_what_fold_gives_has_no_fault():
    told = pl.DataFrame(
        {
            "item": ["a", "a", "a", "b", "b"],
            "name": ["x", None, "y", "x", "z"],
            "op": ["upsert", "delete", "upsert", "upsert", "upsert"],
            "ts": [day(1), day(3), day(5), day(2), day(4)],
        }
    )
    assert counted(fold(told, ["item"]), told) == {}


@pytest.mark.parametrize(
    ("versions", "fault"),
    [
        (history(("a", 1, None), ("a", 2, None)), {"not_one_current": 1, "overlaps": 1}),
        (history(("a", 1, 3), ("a", 2, None)), {"overlaps": 1, "gaps": 1}),
        (history(("a", 1, 2), ("a", 3, None)), {"gaps": 1}),
        (history(("a", 1, 2)), {"gaps": 1}),
        (history(("a", 1, None, False)), {"flags": 1}),
        (history(("a", 2, 2), ("a", 2, None)), {"empty": 1}),
    ],
    ids=["two current", "overlap", "gap", "ended", "flag", "empty"],
)
def test_each_fault_is_counted(versions: pl.DataFrame, fault: dict[str, int]):
    assert counted(versions, events()) == fault


def test_a_delete_explains_a_gap_of_its_own_item_at_its_own_time():
    versions = history(("a", 1, 2), ("a", 3, None))
    assert counted(versions, events(("a", 2))) == {}
    assert counted(versions, events(("b", 2))) == {"gaps": 1}
    assert counted(versions, events(("a", 3))) == {"gaps": 1}
