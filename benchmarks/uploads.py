"""An upload instance against the same endpoint with no Kafka behind it: images a second, latency, processor time.

Two instances beside the stack's own, in turn in one run, the same client at both, straight to the instance with the
gateway's certificate. The floor seals, hashes, checks and writes states as the service does, and acknowledges at once
what Kafka would have kept. The client's own time is in both rates, for it runs on the same cores, as the broker does.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._door import Door, Instance, cpu_of, instances_running, send_all
from benchmarks._lanes import peak_mib
from benchmarks._stack import as_gateway, darkroom
from benchmarks.figures import Figure, median, spread

REPEATS = 5
SIZES = {"1 kB": (1_000, 1_000), "100 kB": (100_000, 300)}
"""By name: bytes of an image, and how many a turn sends."""
AIM = 0.6


@dataclass(frozen=True)
class Turn:
    """Images a second, milliseconds that each took, and the instance's CPU milliseconds for one."""

    rate: float
    times: list[float]
    cpu: float


def run() -> list[Figure]:
    """Both sizes; about a minute."""
    home = Path(os.environ["DARKROOM_HOME"])
    token, trust = darkroom(home, "token").strip(), as_gateway(home)
    with instances_running(home, ["services.uploads", "benchmarks._no_kafka"]) as (real, floor):
        doors = {one.port: Door(f"https://127.0.0.1:{one.port}", trust, token) for one in (real, floor)}
        figures = []
        for name, (size, count) in SIZES.items():
            turns: dict[int, list[Turn]] = {real.port: [], floor.port: []}
            for _ in range(REPEATS):
                for one in (real, floor):
                    turns[one.port].append(_turn(doors[one.port], one, size, count))
            figures += _figures(name, count, turns[real.port], turns[floor.port])
        peaks = [peak_mib(one.process.pid) for one in (real, floor)]
    told = f"{peaks[0]} MiB against {peaks[1]}"
    return [*figures, Figure("peak memory of the instance / with no Kafka", peaks[0] / peaks[1], "", detail=told)]


def _turn(door: Door, instance: Instance, size: int, count: int) -> Turn:
    before = cpu_of(instance.process)
    rate, times = asyncio.run(send_all(door, size, count))
    return Turn(rate, times, (cpu_of(instance.process) - before) / count * 1000)


def _figures(name: str, count: int, real: list[Turn], floor: list[Turn]) -> list[Figure]:
    ratios = [one.rate / other.rate for one, other in zip(real, floor, strict=True)]
    costs = [other.cpu / one.cpu for one, other in zip(real, floor, strict=True)]
    figures = [
        Figure(
            f"uploads / with no Kafka, {name}", median(ratios), "", AIM, detail=f"images a second; {spread(ratios)}"
        ),
        Figure(f"processor time with no Kafka / of uploads, {name}", median(costs), "", detail=spread(costs)),
    ]
    for what, turns in (("uploads", real), ("with no Kafka", floor)):
        rates = [turn.rate for turn in turns]
        half, slow = np.percentile([one for turn in turns for one in turn.times], [50, 99])
        cpu = median([turn.cpu for turn in turns])
        how = f"{count} a turn; p50 {half:.1f} and p99 {slow:.1f} ms; {cpu:.2f} CPU-ms an image; {spread(rates)}"
        figures.append(Figure(f"  {what}, {name}", median(rates), "images/s", detail=how))
    return figures
