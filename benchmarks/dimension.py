"""The item dimension as a table, beside a delta-rs MERGE, mack on Spark, dbt snapshot on DuckDB, and dlt's scd2.

The same million items and the same ten batches (10,000 changed, 1,000 new, 500 removed; two hold late events) for each,
each in a process of its own, by CPU seconds of that process and its children; the median of the batches counts. What
each is given differs, for so they work: ours gets the events of a batch, the MERGE and mack the last event of each item
in it, dbt and dlt the whole image of the day, whose making is not counted. None of the four knows late events, so that
their tables are wrong after batch 4, and mack no removals either. Ours is held against a full fold at the end.

The peers are installed for this alone, from requirements-peers.lock, into a folder of their own (`make bench`).
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import DeltaTable, write_deltalake

from benchmarks._items import BATCHES, DAY, KEY, LATE, SEED, day_batch, first_day, item_events
from benchmarks.figures import Figure, median, spread
from resources.event_log import open_log
from resources.lake import Lake
from resources.settings import load_settings
from resources.version_table import VersionTable
from transforms.scd2 import DELETE, as_of, fold
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS

ALONE = True
"""Needs no stack."""

PEERS = Path(__file__).parent / "_peers"
MACKS_BATCHES = 5
"""Each takes Spark a good while."""
PEERS_PYTHON = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
GROWN_ITEMS, GROWN_VERSIONS = 200_000, 10

Costs = dict[str, list[float]]


def run() -> list[Figure]:
    """Measure; about five CPU-minutes."""
    ours, merge = _alone(measure_ours), _alone(measure_merge)
    figures = [*_ours(ours), *_beside("delta-rs MERGE", ours, merge, 1.5)]
    if not PEERS_PYTHON.is_file():
        raise RuntimeError(f"mack, dbt and dlt are not installed in {PEERS_PYTHON.parents[1]}: run `make peers`.")
    with tempfile.TemporaryDirectory(prefix="darkroom-peers-") as folder:
        images = _images(Path(folder))
        mack = _peer("mack_scd2.py", Path(folder), [load_settings().jvm_root / "spark", *_changes(Path(folder))])
        figures += _beside("mack on Spark", ours, mack, None)
        figures += _beside("dbt snapshot on DuckDB", ours, _peer("dbt_snapshot.py", Path(folder), images), 0.5)
        figures += _beside("dlt scd2 on DuckDB", ours, _peer("dlt_scd2.py", Path(folder), images), None)
    return [*figures, *_growth()]


def _ours(costs: Costs) -> list[Figure]:
    prompt = [cost for number, cost in enumerate(costs["refresh"], 1) if number not in LATE]
    late = [cost for number, cost in enumerate(costs["refresh"], 1) if number in LATE]
    return [
        Figure(
            "a batch appended to the log", median(costs["append"]), "CPU-s", 0.1, "at most", spread(costs["append"])
        ),
        Figure("the dimension refreshed from it", median(prompt), "CPU-s", detail=spread(prompt)),
        Figure("the same with late events", median(late), "CPU-s", detail=spread(late)),
        Figure("peak memory", costs["peak"][0], "MB", detail="the items made for it among it"),
    ]


def _beside(name: str, ours: Costs, theirs: Costs, aim: float | None) -> list[Figure]:
    prompt = [one for number, one in enumerate(ours["refresh"], 1) if number not in LATE]
    return [
        Figure(
            f"refreshed / {name}",
            median(prompt) / median(theirs["refresh"]),
            "",
            aim,
            "at most",
            f"{median(theirs['refresh']):.2f} CPU-s a batch; {spread(theirs['refresh'])}",
        ),
        Figure(f"  peak memory of {name}", theirs["peak"][0], "MB"),
    ]


def measure_ours() -> Costs:
    """CPU seconds of each batch: appended, refreshed; and that the table is what a full fold gives."""
    with tempfile.TemporaryDirectory(prefix="darkroom-dimension-") as folder:
        lake = Lake(folder)
        log = open_log(lake, ITEM_EVENTS)
        log.append(as_events(first_day()), {})
        VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()
        costs: Costs = {"append": [], "refresh": []}
        for number in range(1, BATCHES + 1):
            batch = as_events(day_batch(number))
            costs["append"].append(_cpu(lambda batch=batch: open_log(lake, ITEM_EVENTS).append(batch, {})))
            costs["refresh"].append(
                _cpu(lambda: VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh())
            )
        costs["peak"] = [_peak()]
        wanted = fold(open_log(lake, ITEM_EVENTS).read().drop("arrival", "captured_at", *_PLACE), KEY)
        found = pl.scan_delta(lake.open(DIM_ITEM.name)).collect().sort("item_id", "effective_date")
        if not found.select(wanted.columns).equals(wanted):
            raise RuntimeError("The refreshed dimension is not what a full fold gives: no figure is worth anything.")
        return costs


def measure_merge() -> Costs:
    """CPU seconds of each batch as one MERGE of delta-rs, on a table partitioned by current_flag."""
    with tempfile.TemporaryDirectory(prefix="darkroom-merge-") as folder:
        history = fold(first_day(), KEY)
        write_deltalake(folder, history.to_arrow(), partition_by=["current_flag"])
        costs: Costs = {"refresh": []}
        for number in range(1, BATCHES + 1):
            last = day_batch(number).sort("ts").unique("item_id", keep="last", maintain_order=True)
            costs["refresh"].append(_cpu(lambda last=last: _merge(folder, last)))
        costs["peak"] = [_peak()]
        return costs


def _merge(folder: str, last: pl.DataFrame) -> None:
    """The way of the books: a row that closes the current version, and one with no key to match that is inserted."""
    upserts = last.filter(pl.col("op") != DELETE)
    closing = last.with_columns(merge_key="item_id")
    opening = upserts.with_columns(merge_key=pl.lit(None, pl.String))
    source = pl.concat([closing, opening])
    columns = ("name", "manufacturer", "cost", "weight_kg")
    inserted = {name: f"s.{name}" for name in ("item_id", *columns)} | {
        "effective_date": "s.ts",
        "end_date": "NULL",
        "current_flag": "true",
    }
    (
        DeltaTable(folder)
        .merge(
            source.drop("seq", "batch_id").to_arrow(),
            "t.item_id = s.merge_key AND t.current_flag = true",
            source_alias="s",
            target_alias="t",
        )
        .when_matched_update({"end_date": "s.ts", "current_flag": "false"})
        .when_not_matched_insert(inserted, predicate="s.op = 'upsert' AND s.merge_key IS NULL")
        .execute()
    )


def _images(folder: Path) -> list[Path]:
    """The items of each day as Parquet, as a peer that compares whole images gets them."""
    log, paths = first_day(), []
    for number in range(BATCHES + 1):
        if number:
            log = pl.concat([log, day_batch(number)])
        held = as_of(fold(log, KEY), datetime.fromtimestamp((number + 1) * DAY / 1e6, UTC))
        path = folder / f"image-{number:02}.parquet"
        held.select("item_id", "name", "manufacturer", "cost", "weight_kg").write_parquet(path)
        paths.append(path)
    return paths


def _changes(folder: Path) -> list[Path]:
    """The items of the first day and the last event of each that changed on a later one, as Parquet for mack."""
    paths = []
    for number in range(MACKS_BATCHES + 1):
        events = day_batch(number) if number else first_day()
        last = events.sort("ts").unique("item_id", keep="last", maintain_order=True).filter(pl.col("op") != DELETE)
        path = folder / f"changes-{number:02}.parquet"
        wanted = last.select("item_id", "name", "manufacturer", "cost", "weight_kg", effective_time="ts")
        wanted.write_parquet(path)
        paths.append(path)
    return paths


def _peer(script: str, folder: Path, given: list[Path]) -> Costs:
    work = folder / script.removesuffix(".py")
    work.mkdir()
    done = subprocess.run(
        [PEERS_PYTHON, PEERS / script, work, *given], capture_output=True, text=True, timeout=1800, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _growth() -> list[Figure]:
    """The same batch on items with one version each, and with ten."""
    one, ten = (_alone(measure_grown, versions)["refresh"] for versions in (1, GROWN_VERSIONS))
    return [
        Figure(
            f"a batch on {GROWN_VERSIONS} versions an item / on one",
            median(ten) / median(one),
            "",
            1.3,
            "at most",
            f"{GROWN_ITEMS:,} items; {median(one):.2f} and {median(ten):.2f} CPU-s; {spread(ten)}",
        )
    ]


def measure_grown(versions: int) -> Costs:
    """CPU seconds of batches on a table whose items have so many versions each."""
    with tempfile.TemporaryDirectory(prefix="darkroom-grown-") as folder:
        lake = Lake(folder)
        for number in range(versions):
            rng = np.random.default_rng(SEED + number)
            times = number * DAY + rng.integers(0, DAY, GROWN_ITEMS)
            made = item_events(rng, rng.permutation(GROWN_ITEMS), times, f"day-{number}")
            open_log(lake, ITEM_EVENTS).append(as_events(made), {})
        VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()
        costs = []
        for number in range(versions, versions + 5):
            rng = np.random.default_rng(SEED + number)
            ids = rng.choice(GROWN_ITEMS, 2_000, replace=False)
            made = item_events(rng, ids, number * DAY + rng.integers(0, DAY, 2_000), f"day-{number}")
            open_log(lake, ITEM_EVENTS).append(as_events(made), {})
            costs.append(_cpu(lambda: VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()))
        return {"refresh": costs}


_PLACE = ("transaction", "change_id", "changed_at")


def as_events(frame: pl.DataFrame) -> pl.DataFrame:
    """Made-up changes as rows of the log of events."""
    return frame.drop("batch_id").with_columns(
        pl.lit(None, pl.Int64).alias("transaction"),
        pl.lit(None, pl.Int64).alias("change_id"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("changed_at"),
        captured_at="ts",
    )


def _alone(measure: Callable[..., Costs], *arguments: int) -> Costs:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _peak() -> float:
    """Megabytes; the kernel counts in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
