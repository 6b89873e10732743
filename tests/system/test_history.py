"""The checker itself: a checker that finds nothing must be shown to find something."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.system.history import PROCESSED, RAW, Acknowledged, violations


def _lake(root: Path, offsets: list[int], ids: list[str]) -> str:
    day = date(2026, 1, 2)
    pl.DataFrame(
        {
            "topic": ["images.raw"] * len(offsets),
            "topic_id": ["t"] * len(offsets),
            "partition": pl.Series([0] * len(offsets), dtype=pl.Int32),
            "offset": offsets,
            "day": [day] * len(offsets),
        }
    ).write_delta(str(root / RAW))
    pl.DataFrame({"id": ids, "day": [day] * len(ids)}).write_delta(str(root / PROCESSED))
    return str(root)


ACKNOWLEDGED = [Acknowledged("a", 0, 0), Acknowledged("b", 0, 1)]


def test_a_lake_that_keeps_every_promise_breaks_none(tmp_path: Path) -> None:
    assert list(violations(_lake(tmp_path, [0, 1], ["a", "b"]), ACKNOWLEDGED)) == []


@pytest.mark.parametrize(
    ("offsets", "ids", "sentence"),
    [
        ([0], ["a", "b"], "not in bronze"),
        ([0, 1, 1], ["a", "b"], "in bronze more than once"),
        ([0, 1], ["a"], "were not developed"),
        ([0, 1], ["a", "b", "b"], "in processed_images more than once"),
    ],
)
def test_each_broken_promise_is_found(tmp_path: Path, offsets: list[int], ids: list[str], sentence: str) -> None:
    found = list(violations(_lake(tmp_path, offsets, ids), ACKNOWLEDGED))
    assert len(found) == 1
    assert sentence in found[0]
