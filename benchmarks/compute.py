"""Developing on each backend, appending to S3 beside a folder, and how long a Spark session takes to start.

5,000 sealed images of 256 pixels, the same bronze for every way, in one run: the plain function (decode, thumbnail,
hashes; nothing opened, sealed or committed) in this process; the local backend; Spark, local[2], warm, that is after a
first batch. CPU is of this process and all that it started, Java and Python processes among them. S3 is s3proxy on this
machine, over TLS: it says what the protocol costs, and nothing of AWS's speed. A session's start: until the first row
of a table is there, by a function in Python, with Java as it comes and with Darkroom's options and archive of classes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks._cpu import family_cpu
from benchmarks._house import bronze_rows, develop_all, house, land_sealed, small_photographs
from benchmarks._s3 import s3_running
from benchmarks._sealed import sealed_records
from benchmarks.figures import Figure, median, spread
from resources.decoding import DecodePool
from resources.lake import Lake
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from resources.spark_gateway import class_archive
from transforms.images import Limits, develop
from transforms.tables import RAW_IMAGES

ALONE = True
"""Needs no stack."""

IMAGES = 5_000
NEW = 200
STARTS = 3
APPENDS = 10
APPEND_BYTES = 16 * 1024 * 1024


def run() -> list[Figure]:
    """Measure; about five CPU-minutes."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        return [
            *_backends(Path(folder)),
            *_storage(Path(folder)),
            *_starts(Path(folder)),
        ]


def _backends(folder: Path) -> list[Figure]:
    settings, lake = house(folder / "backends")
    land_sealed(lake, sealed_records(settings, small_photographs(), IMAGES), 0)
    images, limits = small_photographs(IMAGES), Limits(10**7, 10**7)
    plain, _ = _cost(lambda: [develop(image, limits) for image in images])
    figures = [Figure("the plain function", IMAGES / plain, "images/CPU-s", detail="in this process, one thread")]
    with DecodePool(settings) as pool:
        develop_all(settings, lake, pool)
        for name in ("local", "Spark, warm"):
            twin = _twin(folder / name.split(",")[0], settings)
            far = None if name == "local" else SparkCompute(settings, twin.storage)
            land_sealed(twin, sealed_records(settings, small_photographs(), NEW), 0)
            develop_all(settings, twin, pool, far)
            land_sealed(twin, sealed_records(settings, small_photographs(), IMAGES), NEW)
            asking = time.process_time()
            cpu, wall = _cost(lambda twin=twin, far=far: develop_all(settings, twin, pool, far))
            asking = time.process_time() - asking
            figures += [
                Figure(f"developed: {name}", IMAGES / cpu, "images/CPU-s", detail=f"{IMAGES / wall:.0f} images/s"),
                Figure("  CPU against the plain function", cpu / plain, "times", detail=f"{wall:.1f} s wall time"),
                Figure("  CPU of the process that asks and commits", asking / IMAGES * 1e3, "ms an image"),
            ]
    end_session()
    return figures


def _storage(folder: Path) -> list[Figure]:
    (folder / "s3").mkdir()
    with s3_running(folder / "s3") as server:
        ways = {"folder": Lake(str(folder / "plain")), "S3": server.lake()}
        handles = {name: lake.ensure(RAW_IMAGES) for name, lake in ways.items()}
        batch = bronze_rows([("i", [], b"\0" * 100_000)] * (APPEND_BYTES // 100_000), 0)
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(APPENDS):
            for name, lake in ways.items():
                began = time.process_time(), time.perf_counter()
                lake.append(handles[name], RAW_IMAGES, batch, {"bench": number})
                costs[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    cpu = {name: median([one for one, _ in found]) for name, found in costs.items()}
    wall = {name: median([one for _, one in found]) for name, found in costs.items()}
    return [
        Figure(
            "a commit of 16 MB on S3 / in a folder, CPU of the writer",
            cpu["S3"] / cpu["folder"],
            "",
            detail=f"{cpu['S3'] * 1e3:.0f} and {cpu['folder'] * 1e3:.0f} CPU-ms; {spread([c for c, _ in costs['S3']])}",
        ),
        Figure(
            "the same, wall time, the server on the same cores",
            wall["S3"] / wall["folder"],
            "",
            detail=f"{wall['S3'] * 1e3:.0f} and {wall['folder'] * 1e3:.0f} ms",
        ),
    ]


def _starts(folder: Path) -> list[Figure]:
    settings = _one_row(folder / "starts")
    own = folder / "starts" / "plain.conf"
    own.write_text(f"{(settings.spark_properties or own).read_text()}spark.driver.extraJavaOptions -Dbench=plain\n")
    ways = {"plain": settings.model_copy(update={"spark_properties": own}), "ours": settings}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(STARTS):
        for name, given in ways.items():
            found[name].append(_started(given))
    wall, cpu = ({name: median([one[at] for one in runs]) for name, runs in found.items()} for at in (0, 1))
    ours = spread([one for _, one in found["ours"]])
    kept = "with its archive of classes" if class_archive(settings).is_file() else "WITHOUT its archive of classes"
    return [
        Figure(
            "start of a Spark session, plain Java / ours, CPU of Java",
            cpu["plain"] / cpu["ours"],
            "",
            detail=f"{cpu['plain']:.1f} and {cpu['ours']:.1f} CPU-s, {kept}; {ours}",
        ),
        Figure(
            "the same, wall time",
            wall["plain"] / wall["ours"],
            "",
            detail=f"{wall['plain']:.1f} and {wall['ours']:.1f} s",
        ),
    ]


def _one_row(folder: Path) -> Settings:
    settings, lake = house(folder)
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, bronze_rows([("i", [], b"p")], 0), {"bench": 1})
    return settings


def _started(given: Settings) -> tuple[float, float]:
    """Wall and Java's CPU seconds of a new session, until it has read its first row."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._spark_start"],
        input=given.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    wall, cpu = map(float, done.stdout.split()[-2:])
    return wall, cpu


def _twin(folder: Path, settings: Settings) -> Lake:
    """Another, empty lake for the same keys."""
    return Lake(str(folder / settings.home.name))


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and all it started, and wall seconds."""
    own = psutil.Process()
    began, wall = family_cpu(own), time.perf_counter()
    work()
    return family_cpu(own) - began, time.perf_counter() - wall
