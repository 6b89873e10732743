"""Made-up items that arrive in no order, and batches of their changes, for every benchmark of item versions."""

from __future__ import annotations

import numpy as np
import polars as pl

from transforms.scd2 import DELETE, UPSERT

ITEMS = 1_000_000
BATCHES = 10
CHANGED, NEW, REMOVED = 10_000, 1_000, 500
LATE = (4, 8)
KEY = ["item_id"]
DAY = 86_400_000_000
SEED = 5


def first_day() -> pl.DataFrame:
    """The first day: every item once."""
    rng = np.random.default_rng(SEED)
    return item_events(rng, rng.permutation(ITEMS), rng.integers(0, DAY, ITEMS), "batch-0")


def day_batch(number: int) -> pl.DataFrame:
    """Changes of one day; a tenth of them days late, in two of the batches."""
    rng = np.random.default_rng(SEED + number)
    picked = rng.choice(ITEMS, CHANGED + REMOVED, replace=False)
    new = ITEMS + number * NEW + np.arange(NEW)
    ts = number * DAY + rng.integers(0, DAY, CHANGED + REMOVED + NEW)
    if number in LATE:
        ts[: CHANGED // 10] -= rng.integers(1, number, CHANGED // 10) * DAY
    ids = np.concatenate([picked, new])
    fresh = item_events(rng, ids, ts, f"batch-{number}")
    removed = pl.int_range(pl.len()).is_between(CHANGED, CHANGED + REMOVED - 1)
    return fresh.with_columns(op=pl.when(removed).then(pl.lit(DELETE)).otherwise(pl.col("op")))


def item_events(
    rng: np.random.Generator, ids: np.ndarray, ts: np.ndarray, batch: str, deleted: float = 0.0
) -> pl.DataFrame:
    """Events of these items at these times, in microseconds since 1970; a share of them deletes."""
    size = len(ids)
    return item_ids(ids).with_columns(
        name=pl.Series(rng.integers(0, 1000, size)).cast(pl.String) + "-watt floor lamp",
        manufacturer=pl.Series(rng.integers(0, 50, size)).cast(pl.String),
        cost=pl.Series(rng.integers(1, 1_000_000, size)).cast(pl.Decimal(12, 2)),
        weight_kg=pl.Series(rng.integers(1, 100_000, size)).cast(pl.Decimal(10, 3)),
        op=pl.when(pl.Series(rng.random(size) < deleted)).then(pl.lit(DELETE)).otherwise(pl.lit(UPSERT)),
        ts=pl.Series(ts).cast(pl.Datetime("us", "UTC")),
        seq=pl.lit(None, pl.Int64),
        batch_id=pl.lit(batch),
    )


def item_ids(ids: np.ndarray) -> pl.DataFrame:
    """Item ids as text, of one length."""
    number = pl.Series("item_id", ids).cast(pl.String).str.zfill(8)
    return pl.DataFrame({"item_id": "item-" + number})
