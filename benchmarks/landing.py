"""Landing against a bare `consume` loop and Spark Structured Streaming, and its memory.

All lanes read the same topic, in processes of their own and in turn, the loop with landing's client settings; the
median of the repeats counts. All are warm: a first pass over the topic, into another table, is in no figure but that of
memory. Spark does neither hash nor check what landing does. Processor seconds stand beside the wall's, for the machine
may be shared. Topics are made for the purpose with this process's identity (make it `admin`) and deleted again.
`DARKROOM_BENCH_BACKLOG_MB` sets the backlog (2048).
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from confluent_kafka import Producer

from benchmarks.figures import Figure, median, spread
from resources.kafka import Admin, ensure_topic, producer_config
from resources.settings import Settings, load_settings
from transforms.envelope import DataKey, Metadata, seal

PARTITIONS = 4
REPEATS = 5
SPARK_REPEATS = 3
"""Each starts Java and warms up."""
_DISTINCT = 64


@dataclass(frozen=True)
class Lane:
    """One run of a lane: records, wall and processor seconds of the reading alone, peak memory of its processes in MB,
    and the data files that it leaves."""

    records: int
    seconds: float
    cpu: float
    peak: float
    files: int


def run() -> list[Figure]:
    """All figures of landing; takes some minutes, most of them to fill topics."""
    settings = load_settings()
    return [
        *_against_others(settings, "1 kB", 1_000, 300_000, 3),
        *_against_others(settings, "100 kB", 100_000, 5_000, 5),
        *_backlog(settings, int(os.environ.get("DARKROOM_BENCH_BACKLOG_MB", "2048"))),
    ]


def _against_others(settings: Settings, name: str, size: int, records: int, cpu_aim: float) -> list[Figure]:
    """Three lanes in turn, over records of `size` bytes; `cpu_aim` is how many times Spark's records a CPU-second."""
    lanes: dict[str, list[Lane]] = {"consume": [], "land": [], "spark": []}
    with _topic(settings, size, records) as topic:
        for turn in range(REPEATS):
            for lane, runs in lanes.items():
                if lane != "spark" or turn < SPARK_REPEATS:
                    runs.append(_lane(lane, settings, topic))
                    if runs[-1].records != records:
                        raise RuntimeError(
                            f"Lane {lane} read {runs[-1].records} of {records} records of {topic}: its figure is worth "
                            "nothing."
                        )
    bare, landing, spark = lanes.values()
    ratios = [b.seconds / a.seconds for a, b in zip(landing, bare, strict=True)]
    figures = [
        Figure(f"landing / consume, {name} sealed", median(ratios), "", 0.6, detail=f"wall; {spread(ratios)}"),
        Figure(
            f"processor time of consume / of landing, {name}",
            _cpu(bare) / _cpu(landing),
            "",
            detail=f"{_us(landing)} us a record against {_us(bare)}",
        ),
        Figure(f"landing, {name} sealed", *_rate(landing)),
        Figure(f"bare consume, {name} sealed", *_rate(bare)),
    ]
    return figures + (_beside_spark(name, landing, spark, cpu_aim) if spark else [])


def _beside_spark(name: str, landing: list[Lane], spark: list[Lane], cpu_aim: float) -> list[Figure]:
    peaks = [median([one.peak for one in lane]) for lane in (landing, spark)]
    return [
        Figure(f"landing / Spark Structured Streaming, {name}: a second", _rate(landing)[0] / _rate(spark)[0], "", 3),
        Figure(
            f"landing / Spark Structured Streaming, {name}: a CPU-second",
            _cpu(spark) / _cpu(landing),
            "",
            cpu_aim,
            detail=f"{_us(landing)} us a record against {_us(spark)}",
        ),
        Figure(
            f"data files of landing after upkeep / of Spark, {name}",
            landing[-1].files / spark[-1].files,
            "",
            1,
            "at most",
            f"{landing[-1].files} against {spark[-1].files}",
        ),
        Figure(
            f"peak memory of Spark / of landing, {name}",
            peaks[1] / peaks[0],
            "",
            detail=f"{peaks[1]:,.0f} MB against {peaks[0]:,.0f}",
        ),
        Figure(f"Spark Structured Streaming, {name} sealed", *_rate(spark)),
    ]


def _rate(lanes: list[Lane]) -> tuple[float, str, None, Literal["at least"], str]:
    """A figure of records a second, but for its name."""
    rates = [one.records / one.seconds for one in lanes]
    return median(rates), "records/s", None, "at least", f"{lanes[0].records:,} records; {spread(rates)}"


def _cpu(lanes: list[Lane]) -> float:
    return median([one.cpu for one in lanes])


def _us(lanes: list[Lane]) -> str:
    return f"{_cpu(lanes) / lanes[0].records * 1e6:.1f}"


def _backlog(settings: Settings, megabytes: int) -> list[Figure]:
    records = megabytes * 10
    with _topic(settings, 100_000, records) as topic:
        lane = _lane("land", settings, topic, "cold")
    if lane.records != records:
        raise RuntimeError(f"Landing read {lane.records} of {records} records: its memory is worth nothing.")
    detail = f"{megabytes:,} MB in 100 kB records, landed in {lane.seconds:.1f} s"
    return [Figure("peak memory of landing a backlog", lane.peak, "MB", 700, "at most", detail)]


@contextmanager
def _topic(settings: Settings, size: int, records: int) -> Iterator[str]:
    """A topic with sealed records of about this size."""
    topic = f"bench.landing.{uuid.uuid4().hex[:12]}"
    ensure_topic(settings, topic, PARTITIONS)
    try:
        _fill(settings, topic, size, records)
        yield topic
    finally:
        Admin(settings).delete_topic(topic)


def _fill(settings: Settings, topic: str, size: int, records: int) -> None:
    today = datetime.now(UTC).date()
    sealed = [_sealed(size, number, today) for number in range(_DISTINCT)]
    producer = Producer({**producer_config(settings), "linger.ms": "20", "queue.buffering.max.kbytes": "131072"})
    failed: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    for number in range(records):
        key, headers, value = sealed[number % _DISTINCT]
        while True:
            try:
                producer.produce(
                    topic, value, key, partition=number % PARTITIONS, headers=headers, on_delivery=delivered
                )
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    left = producer.flush(300)
    if left or failed:
        raise RuntimeError(f"{left + len(failed)} of {records} records did not reach {topic}: {failed[:1]}")


def _sealed(size: int, number: int, day: date) -> tuple[str, list[tuple[str, bytes | str | None]], bytes]:
    id = base64.b32encode(number.to_bytes(17, "big")).decode().lower()[:26]
    key = DataKey(f"{day.isoformat()}_abcdefghijklmnop_abcdefghijklm", os.urandom(32))
    metadata = Metadata("0" * 64, "image/jpeg", "label", "uploader", ("group",), "name.jpg", datetime.now(UTC))
    image = os.urandom(max(0, size - 300))
    headers, value = seal(metadata, image, id=id, day=day, key=key, via="uploads", nonce=os.urandom(12))
    return id, [*headers], value


def _lane(lane: str, settings: Settings, topic: str, *more: str) -> Lane:
    """Run a lane in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        own = settings.model_copy(update={"topic": topic, "lake": folder})
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                *(["benchmarks._spark_stream"] if lane == "spark" else ["benchmarks._lanes", lane, *more]),
            ],
            input=own.model_dump_json(),
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
    if done.returncode != 0:
        raise RuntimeError(f"The lane {lane!r} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    records, seconds, cpu, peak, files = done.stdout.split()[-5:]
    return Lane(int(records), float(seconds), float(cpu), float(peak), int(files))
