"""Gold: counts per day and group, whatever the order of rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from transforms.gold import ALL, NONE, daily_uploads
from transforms.tables import DAILY_UPLOADS

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROCESSED = pl.Schema(
    {
        "day": pl.Date,
        "groups": pl.List(pl.String),
        "bytes": pl.Int64,
        "near_duplicate_of": pl.String,
        "appended_at": pl.Datetime("us", "UTC"),
        "processed_at": pl.Datetime("us", "UTC"),
    }
)
QUARANTINED = pl.Schema({"day": pl.Date, "groups": pl.List(pl.String), "reason": pl.String})


def processed(*rows: tuple[list[str] | None, int, str | None, float], day: date = DAY) -> pl.DataFrame:
    """Rows of (groups, bytes, near_duplicate_of, latency in seconds)."""
    return pl.DataFrame(
        [(day, groups, size, other, NOON, NOON + timedelta(seconds=wait)) for groups, size, other, wait in rows],
        schema=PROCESSED,
        orient="row",
    )


def quarantined(*rows: tuple[list[str] | None, str], day: date = DAY) -> pl.DataFrame:
    """Rows of (groups, reason)."""
    return pl.DataFrame([(day, groups, reason) for groups, reason in rows], schema=QUARANTINED, orient="row")


def by_group(frame: pl.DataFrame) -> dict[str, dict[str, object]]:
    return {row["uploader_group"]: row for row in frame.iter_rows(named=True)}


def test_each_group_counts_its_uploaders_and_all_counts_everyone_once() -> None:
    rows = by_group(
        daily_uploads(
            processed((["photo", "desk"], 100, None, 1), (["photo"], 50, "x", 3), ([], 7, None, 5), (None, 3, None, 9)),
            quarantined((["photo"], "corrupt"), (None, "tombstone")),
            NOON,
        )
    )
    assert {name: row["processed"] for name, row in rows.items()} == {ALL: 4, NONE: 2, "desk": 1, "photo": 2}
    assert {name: row["bytes"] for name, row in rows.items()} == {ALL: 160, NONE: 10, "desk": 100, "photo": 150}
    assert {name: row["quarantined"] for name, row in rows.items()} == {ALL: 2, NONE: 1, "desk": 0, "photo": 1}
    assert rows[ALL]["near_duplicates"] == rows["photo"]["near_duplicates"] == 1
    assert rows[ALL]["latency_p50_seconds"] == 4
    assert rows[ALL]["latency_p99_seconds"] == pytest.approx(5 + 4 * 0.97)


def test_an_uploader_who_names_a_group_twice_counts_once_in_it() -> None:
    rows = by_group(daily_uploads(processed((["photo", "photo"], 1, None, 1)), quarantined(), NOON))
    assert rows["photo"]["processed"] == 1


def test_reasons_stand_most_first_and_ties_by_name() -> None:
    reasons = ["tampered", "corrupt", "empty", "corrupt", "tampered", "corrupt"]
    rows = by_group(daily_uploads(processed(), quarantined(*((None, reason) for reason in reasons)), NOON))
    assert rows[ALL]["reasons"] == [
        {"reason": "corrupt", "records": 3},
        {"reason": "tampered", "records": 2},
        {"reason": "empty", "records": 1},
    ]
    assert rows[ALL]["latency_p50_seconds"] is None


def test_days_do_not_mix() -> None:
    later = DAY + timedelta(days=1)
    frame = daily_uploads(
        pl.concat([processed((["a"], 1, None, 1)), processed((["a"], 2, None, 1), day=later)]), quarantined(), NOON
    )
    assert frame.select("day", "uploader_group", "bytes").rows() == [
        (DAY, ALL, 1),
        (DAY, "a", 1),
        (later, ALL, 2),
        (later, "a", 2),
    ]


def test_the_order_of_rows_changes_nothing() -> None:
    good = processed(*(([str(group)], size, None, size) for size, group in enumerate("abcabcaab")))
    bad = quarantined(*(([str(group)], reason) for group, reason in zip("abab", ["empty", "corrupt"] * 2, strict=True)))
    assert daily_uploads(good, bad, NOON).equals(daily_uploads(good.reverse(), bad.reverse(), NOON))


def test_nothing_gives_no_rows_and_the_table_s_columns() -> None:
    frame = daily_uploads(processed().lazy(), quarantined().lazy(), NOON)
    assert frame.height == 0
    assert frame.to_arrow().select(DAILY_UPLOADS.schema.names).cast(DAILY_UPLOADS.schema).num_rows == 0


def test_rows_fit_the_table() -> None:
    frame = daily_uploads(processed((["a"], 1, None, 1)), quarantined((None, "empty")), NOON)
    table = frame.to_arrow().cast(DAILY_UPLOADS.schema)
    assert table.schema.equals(DAILY_UPLOADS.schema)
