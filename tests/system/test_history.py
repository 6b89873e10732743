"""The checker itself: a checker that finds nothing must be shown to find something."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.system.history import PROCESSED, RAW, Acknowledged, violations

TOPIC_ID = "the topic as it is"
ACKNOWLEDGED = [Acknowledged("a", 0, 0), Acknowledged("b", 0, 1)]
GOOD = [(0, "a"), (1, "b")]


def _lake(
    root: Path, records: Sequence[tuple[int, str | None]], ids: Sequence[str], topic_ids: Sequence[str] = ()
) -> str:
    """A lake with these records (offset and key) of one topic, or of several, and these images developed."""
    day = date(2026, 1, 2)
    pl.DataFrame(
        {
            "topic": ["images.raw"] * len(records),
            "topic_id": list(topic_ids) or [TOPIC_ID] * len(records),
            "partition": pl.Series([0] * len(records), dtype=pl.Int32),
            "offset": [offset for offset, _ in records],
            "key": pl.Series([None if key is None else key.encode() for _, key in records], dtype=pl.Binary),
            "day": [day] * len(records),
        }
    ).write_delta(str(root / RAW))
    pl.DataFrame({"id": list(ids), "day": [day] * len(ids)}).write_delta(str(root / PROCESSED))
    return str(root)


def test_a_lake_that_keeps_every_promise_breaks_none(tmp_path: Path) -> None:
    assert list(violations(_lake(tmp_path, GOOD, ["a", "b"]), ACKNOWLEDGED, TOPIC_ID)) == []


def test_what_was_never_acknowledged_may_be_there_too_and_so_may_another_topics_records(tmp_path: Path) -> None:
    records = [*GOOD, (2, None), (0, "old"), (1, "older")]
    lake = _lake(tmp_path, records, ["a", "b", "old"], [TOPIC_ID] * 3 + ["the topic before it"] * 2)
    assert list(violations(lake, ACKNOWLEDGED, TOPIC_ID)) == []


@pytest.mark.parametrize(
    ("records", "ids", "sentence"),
    [
        (GOOD[:1], ["a", "b"], "not in bronze"),
        ([*GOOD, GOOD[1]], ["a", "b"], "in bronze more than once"),
        # The same place with another content is as wrong, and no row is a copy of another.
        ([(1, "c"), *GOOD], ["a", "b"], "in bronze more than once"),
        ([(0, "a"), (1, "c")], ["a", "b"], "1 acknowledged places hold another record"),
        ([(0, "b"), (1, "a")], ["a", "b"], "2 acknowledged places hold another record"),
        ([(0, "a"), (1, None)], ["a", "b"], "has the key None"),
        (GOOD, ["a"], "were not developed"),
        (GOOD, ["a", "b", "b"], "in processed_images more than once"),
    ],
)
def test_each_broken_promise_is_found(
    tmp_path: Path, records: list[tuple[int, str | None]], ids: list[str], sentence: str
) -> None:
    found = list(violations(_lake(tmp_path, records, ids), ACKNOWLEDGED, TOPIC_ID))
    assert len(found) == 1
    assert sentence in found[0]


def test_a_record_of_another_topic_at_an_acknowledged_place_is_no_proof_of_it(tmp_path: Path) -> None:
    lake = _lake(tmp_path, GOOD, ["a", "b"], [TOPIC_ID, "the topic before it"])
    (found,) = violations(lake, ACKNOWLEDGED, TOPIC_ID)
    assert "1 acknowledged records are not in bronze" in found
