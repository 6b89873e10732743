"""From an acknowledged upload to its row in processed_images, part by part, on the running stack; and `up` again.

The parts are read from what each step wrote down itself: the acknowledgement here, the run's creation and start from
Dagster, `landed_at` from bronze, `processed_at` from processed_images. All clocks are this machine's. Dagster's own
share is what a run of the lane costs that finds nothing to do: CPU of the code server and all below it. As Dagster
comes, each run's interpreter imports Dagster and the code location first; what that costs is measured beside, in a
process that does nothing else. At rest are all processes of the stack, a minute long, once runs have ended.
"""

from __future__ import annotations

import io
import os
import ssl
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psutil
from deltalake import DeltaTable
from PIL import Image

from benchmarks._cpu import family_cpu, family_memory
from benchmarks._stack import darkroom, status
from benchmarks.figures import Figure, median, spread
from cli.dagster_api import DagsterApi
from cli.dagster_runs import dagster_of
from stack.run_server import PRELOADED
from stack.signing import owner_client

REPEATS = 5
DEADLINE_SECONDS = 120.0
AT_REST_SECONDS = 60.0
IDLE_SECONDS = 2.0
"""After a run's end, until its process is gone and its time counted."""
RUNS = """
query { runsOrError(filter: {pipelineName: "live_images"}, limit: 5) {
  ... on Runs { results { runId creationTime startTime endTime } } } }
"""


@dataclass(frozen=True)
class Trip:
    """Seconds of one image, from its acknowledgement: until the run was asked for, began, landed it, developed it."""

    asked: float
    began: float
    landed: float
    developed: float


def run() -> list[Figure]:
    """The trip of single images, and the second `up`."""
    home = Path(os.environ["DARKROOM_HOME"])
    trips = [_trip(home) for _ in range(REPEATS)]
    totals = [trip.developed for trip in trips]
    figures = [Figure("new record to processed row", median(totals), "s", None, detail=spread(totals))]
    parts = {
        "  until the sensor asks for a run": [trip.asked for trip in trips],
        "  until the run's process has begun": [trip.began - trip.asked for trip in trips],
        "  until it has landed": [trip.landed - trip.began for trip in trips],
        "  until it is developed": [trip.developed - trip.landed for trip in trips],
    }
    figures += [Figure(name, median(values), "s", None, detail=spread(values)) for name, values in parts.items()]
    return [*figures, *_dagsters_share(home), *_at_rest(home), *_second_up(home)]


def _dagsters_share(home: Path) -> list[Figure]:
    server = psutil.Process(status(home)["services"]["code-server"]["pid"])
    with closing(dagster_of(home)) as dagster:
        _idle_run(dagster)  # the first one may wait until the process that runs are forked from has imported everything
        runs, imports = [], []
        for _ in range(REPEATS):
            before = family_cpu(server)
            _idle_run(dagster)
            runs.append(family_cpu(server) - before)
            imports.append(_importing())
    how = f"{median(runs):.2f} CPU-s a run ({spread(runs)}), and {median(imports):.2f} of imports ({spread(imports)})"
    ratio = (median(runs) + median(imports)) / median(runs)
    return [Figure("a run that imports everything anew / a run, CPU", ratio, "", 2, detail=how)]


def _idle_run(dagster: DagsterApi) -> None:
    run, deadline = dagster.launch("live_images", {}), time.monotonic() + DEADLINE_SECONDS
    while not dagster.run(run).finished:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Run {run} did not end within {DEADLINE_SECONDS:.0f} s; see `darkroom logs daemon`.")
        time.sleep(0.25)
    time.sleep(IDLE_SECONDS)


def _at_rest(home: Path) -> list[Figure]:
    services = {name: psutil.Process(one["pid"]) for name, one in status(home)["services"].items() if one["pid"]}
    before = {name: family_cpu(process) for name, process in services.items()}
    time.sleep(AT_REST_SECONDS)
    shares = {name: (family_cpu(process) - before[name]) / AT_REST_SECONDS * 100 for name, process in services.items()}
    memory = {name: family_memory(process) for name, process in services.items()}
    return [
        Figure("a stack at rest, CPU", sum(shares.values()), "% of a core", 50, "at most", _most(shares)),
        Figure("a stack at rest, memory", sum(memory.values()), "MB", 4096, "at most", _most(memory)),
    ]


def _most(costs: dict[str, float]) -> str:
    named = sorted(costs.items(), key=lambda item: -item[1])[:4]
    return f"of {len(costs)} services: " + ", ".join(f"{name} {cost:,.3g}" for name, cost in named)


def _importing() -> float:
    code = f"import {', '.join(PRELOADED)}, platform_assets.definitions"
    before = os.times()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=Path(__file__).parents[1])
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _trip(home: Path) -> Trip:
    state = status(home)
    doors, lake = state["uploads"], state["lake"]["root"]
    token = darkroom(home, "token").strip()
    image = io.BytesIO()
    pixels = np.random.default_rng().integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image, "JPEG")
    with httpx.Client(verify=ssl.create_default_context(cafile=doors["ca"]), timeout=60) as client:
        answer = client.post(
            f"{doors['url']}/v1/images", content=image.getvalue(), headers={"Authorization": f"Bearer {token}"}
        )
        answer.raise_for_status()
        acknowledged = time.time()
        row = _row(lake, answer.json()["id"])
        raw = pl.scan_delta(f"{lake}/images/raw_images").filter(
            (pl.col("topic_id") == row["topic_id"])
            & (pl.col("partition") == row["partition"])
            & (pl.col("offset") == row["offset"])
        )
        landed = raw.select("landed_at").collect().item().timestamp()
    with owner_client(home) as client:
        runs = client.post("/dagster/graphql", json={"query": RUNS}).json()["data"]["runsOrError"]["results"]
    # The run that landed it: the last one that had begun by then.
    begun = [run for run in runs if run["startTime"] and run["startTime"] <= landed]
    ours = max(begun, key=lambda run: run["startTime"])
    return Trip(
        asked=max(0.0, ours["creationTime"] - acknowledged),
        began=max(0.0, ours["startTime"] - acknowledged),
        landed=landed - acknowledged,
        developed=row["processed_at"].timestamp() - acknowledged,
    )


def _row(lake: str, id: str) -> dict[str, Any]:
    """The image's row in processed_images, waited for."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    table = f"{lake}/images/processed_images"
    wanted = ["topic_id", "partition", "offset", "processed_at"]
    while time.monotonic() < deadline:
        # The table is made by the first run.
        if DeltaTable.is_deltatable(table):
            rows = pl.scan_delta(table).filter(pl.col("id") == id).select(wanted).collect()
            if rows.height:
                return rows.row(0, named=True)
        time.sleep(0.25)
    raise RuntimeError(f"Image {id} was not developed within {DEADLINE_SECONDS:.0f} s; see `darkroom logs daemon`.")


def _second_up(home: Path) -> list[Figure]:
    darkroom(home, "down")
    started, before = time.monotonic(), os.times()
    darkroom(home, "up")
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    detail = f"everything stopped before; {cpu:.1f} s of processor time in the command itself"
    return [Figure("second `up` until all is healthy", seconds, "s", 60, "at most", detail)]
