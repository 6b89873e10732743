"""Item versions: the fold, whole and of the touched keys only, and the join of sales to the versions of their time.

All in memory, on made-up items that arrive in no order, in CPU time of the process with its threads, in turns; the
median of the repeats counts. Floors are polars' own, in the same run: sorting the same events by key, time and seq,
which any fold has to do, and `join_asof` on frames that are sorted already, which knows no end of a version and gives
the facts in another order. Batches are of 10,000 changed, 1,000 new and 500 removed items; two of the ten hold late
events. What the versions cost in a table, and how that
compares with other tools, is benchmarks/dimension.py.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl
import psutil

from benchmarks._items import BATCHES, DAY, ITEMS, KEY, LATE, SEED, day_batch, first_day, item_events, item_ids
from benchmarks.figures import Figure, median, spread
from transforms.scd2 import changes, fold, join_as_of, split_replays, touched

ALONE = True
"""Needs no stack."""

SALES = 1_000_000
MANY = 10_000_000
REPEATS = 5


def run() -> list[Figure]:
    """Measure; about three CPU-minutes and, for the largest fold, 4 GB of memory."""
    batches = [first_day(), *(day_batch(number) for number in range(1, BATCHES + 1))]
    log = pl.concat(batches)
    history = fold(log, KEY)
    return [*_full(log, history), *_incremental(batches, log, history), *_join(history), *_growth()]


def _full(log: pl.DataFrame, history: pl.DataFrame) -> list[Figure]:
    folds, sorts = _in_turns(lambda: fold(log, KEY), lambda: log.sort("item_id", "ts", "seq", maintain_order=True))
    ratios = [one / other for one, other in zip(folds, sorts, strict=True)]
    size = f"{log.height:,} events to {history.height:,} versions"
    return [
        Figure("full fold / polars' sort of the same events", median(ratios), "", detail=spread(ratios)),
        Figure("full fold", median(folds), "CPU-s", detail=f"{size}; {spread(folds)}"),
    ]


def _incremental(batches: list[pl.DataFrame], log: pl.DataFrame, history: pl.DataFrame) -> list[Figure]:
    """Each batch on a log and a history that stand, as a dimension is kept; all of it has to equal the full fold."""
    standing, before = fold(batches[0], KEY), batches[0]
    costs, folds, late = [], [], []
    for number, batch in enumerate(batches[1:], 1):
        began = time.process_time()
        fresh, _ = split_replays(batch)
        keys = touched(fresh, KEY)
        events = pl.concat([before.join(keys, on=KEY, how="semi", maintain_order="left"), fresh])
        old = standing.join(keys, on=KEY, how="semi")
        folding = time.process_time()
        after = fold(events, KEY)
        folds.append(time.process_time() - folding)
        gone, new = changes(old, after, KEY)
        costs.append(time.process_time() - began)
        if number in LATE:
            late.append(costs[-1])
        # A table does this by rewriting files: not measured.
        standing = pl.concat([standing.join(gone, on=[*KEY, "effective_date"], how="anti"), new])
        before = pl.concat([before, fresh])
    if not standing.sort(*KEY, "effective_date").equals(history):
        raise RuntimeError(
            "The touched keys alone gave another history than the full fold: no figure is worth anything."
        )
    began = time.process_time()
    fold(log, KEY)
    whole = time.process_time() - began
    size = f"{batches[1].height:,} events; events and versions of the touched keys found, folded, compared"
    return [
        Figure("batch folded with its touched keys / full fold", median(costs) / whole, "", 0.5, "at most", size),
        Figure("batch folded with its touched keys", median(costs), "CPU-s", detail=spread(costs)),
        Figure("of it the fold itself", median(folds), "CPU-s", detail=spread(folds)),
        Figure("batches with late events / the others", median(late) / median(costs), "", detail=spread(late)),
    ]


def _join(history: pl.DataFrame) -> list[Figure]:
    rng = np.random.default_rng(SEED)
    sales = item_ids(rng.integers(0, ITEMS, SALES)).with_columns(
        sale=pl.int_range(pl.len()),
        sold_at=pl.Series(rng.integers(0, (BATCHES + 2) * DAY, SALES)).cast(pl.Datetime("us", "UTC")),
    )
    sorted_sales, sorted_history = sales.sort("sold_at"), history.sort("effective_date")

    def floor() -> pl.DataFrame:
        return sorted_sales.join_asof(
            sorted_history, left_on="sold_at", right_on="effective_date", by=KEY, check_sortedness=False
        )

    joins, floors = _in_turns(lambda: join_as_of(sales, history, KEY, "sold_at"), floor)
    ratios = [one / other for one, other in zip(joins, floors, strict=True)]
    size = f"{sales.height:,} sales, {history.height:,} versions"
    return [
        Figure("point-in-time join", median(joins), "CPU-s", 2, "at most", f"{size}; {spread(joins)}"),
        Figure("point-in-time join / polars' join_asof of sorted frames", median(ratios), "", detail=spread(ratios)),
    ]


def _growth() -> list[Figure]:
    """Ten times the events, each size in a process of its own, so that its memory is its own."""
    cost = {}
    for events in (MANY // 10, MANY):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            cost[events] = process.submit(_large_fold, events, events // 3).result()
    (small, _), (large, peak) = cost[MANY // 10], cost[MANY]
    detail = f"{large:.1f} CPU-s for {MANY:,} events, {small:.2f} for {MANY // 10:,}"
    return [
        Figure(
            "ten times the events: CPU time of the fold an event", large / small / 10, "times", 2, "at most", detail
        ),
        Figure(f"memory of folding {MANY:,} events, beside them", peak, "MB", detail="the history is part of it"),
    ]


def _large_fold(events: int, items: int) -> tuple[float, float]:
    """CPU seconds of the best of two folds, and megabytes at most beside the events."""
    rng = np.random.default_rng(SEED)
    frame = item_events(rng, rng.integers(0, items, events), np.sort(rng.integers(0, 1000 * DAY, events)), "b", 0.05)
    standing = psutil.Process().memory_info().rss
    costs = []
    peak = standing
    for repeat in range(2):
        began = time.process_time()
        fold(frame, KEY)
        costs.append(time.process_time() - began)
        if repeat == 0:
            # In kilobytes on Linux. The allocator keeps what the first fold gave back, so the second says less.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return min(costs), (peak - standing) / 1e6


def _in_turns(*ways: Callable[[], pl.DataFrame]) -> list[list[float]]:
    """CPU seconds of each way in each round; rounds alternate, so that a noisy neighbour hits all alike."""
    costs: list[list[float]] = [[] for _ in ways]
    for _ in range(REPEATS):
        for way, spent in zip(ways, costs, strict=True):
            began = time.process_time()
            way()
            spent.append(time.process_time() - began)
    return costs
