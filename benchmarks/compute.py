"""Developing on each backend, as the table grows, and appending to S3 beside a folder.

5,000 sealed images of 256 pixels, the same bronze for every way, in one run: the plain function (decode, thumbnail,
hashes; nothing opened, sealed or committed) in this process; the local backend; Spark, local[2], warm, that is after a
first batch. CPU is of this process and all that it started, Java and Python processes among them. Growth: one new batch
of 200 images is developed where the tables have 10, 1,000 and 10,000 files of days long done. S3 is s3proxy on this
machine, over TLS: it says what the protocol costs, and nothing of AWS's speed. A session's start: until the first row
of a table is there, by a function in Python, with Java as it comes and with Darkroom's options and archive of classes.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
from PIL import Image

from benchmarks._photographs import photographs
from benchmarks._s3 import s3_running
from benchmarks._sealed import Sealed, sealed_records
from benchmarks.figures import Figure, median, spread
from resources.compute import Compute
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.keys import open_key_store
from resources.lake import Lake
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from resources.spark_gateway import class_archive
from transforms.images import Limits, develop
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES

ALONE = True
"""Needs no stack."""

IMAGES = 5_000
NEW = 200
FILES = (10, 1_000, 10_000)
STARTS = 3
APPENDS = 10
APPEND_BYTES = 16 * 1024 * 1024
_PIXELS = 256
_TOPIC, _TOPIC_ID = "images.raw", "AAAAAAAAQACAAAAAAAAAAA"


def run() -> list[Figure]:
    """Measure; about five CPU-minutes."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        return [
            *_backends(Path(folder)),
            *_growth(Path(folder)),
            *_storage(Path(folder)),
            *_starts(Path(folder)),
        ]


def _backends(folder: Path) -> list[Figure]:
    settings, lake = _house(folder / "backends")
    _land(lake, sealed_records(settings, _images(), IMAGES), 0)
    images, limits = _images(IMAGES), Limits(10**7, 10**7)
    plain, _ = _cost(lambda: [develop(image, limits) for image in images])
    figures = [Figure("the plain function", IMAGES / plain, "images/CPU-s", detail="in this process, one thread")]
    with DecodePool(settings) as pool:
        _develop(settings, lake, pool)
        for name in ("local", "Spark, warm"):
            twin = _twin(folder / name.split(",")[0], settings)
            far = None if name == "local" else SparkCompute(settings, twin.storage)
            _land(twin, sealed_records(settings, _images(), NEW), 0)
            _develop(settings, twin, pool, far)
            _land(twin, sealed_records(settings, _images(), IMAGES), NEW)
            asking = time.process_time()
            cpu, wall = _cost(lambda twin=twin, far=far: _develop(settings, twin, pool, far))
            asking = time.process_time() - asking
            figures += [
                Figure(f"developed: {name}", IMAGES / cpu, "images/CPU-s", detail=f"{IMAGES / wall:.0f} images/s"),
                Figure("  CPU against the plain function", cpu / plain, "times", detail=f"{wall:.1f} s wall time"),
                Figure("  CPU of the process that asks and commits", asking / IMAGES * 1e3, "ms an image"),
            ]
    end_session()
    return figures


def _growth(folder: Path) -> list[Figure]:
    costs = []
    for files in FILES:
        settings, lake = _house(folder / f"grown-{files}")
        _old_files(lake, files)
        with DecodePool(settings) as pool:
            # The first run opens everything once; the batches after it are what a live table sees.
            _develop(settings, lake, pool)
            batches = []
            for number in range(3):
                _land(lake, sealed_records(settings, _images(), NEW), number * NEW)
                batches.append(_cost(lambda settings=settings, lake=lake, pool=pool: _develop(settings, lake, pool))[0])
        costs.append(batches)
    ten, *more = (median(batches) for batches in costs)
    return [
        Figure(
            f"a batch at {files:,} files of days done / at {FILES[0]}",
            cost / ten,
            "",
            detail=f"{cost:.2f} and {ten:.2f} CPU-s for {NEW} images; {spread(batches)}",
        )
        for files, cost, batches in zip(FILES[1:], more, costs[1:], strict=True)
    ]


def _storage(folder: Path) -> list[Figure]:
    (folder / "s3").mkdir()
    with s3_running(folder / "s3") as server:
        ways = {"folder": Lake(str(folder / "plain")), "S3": server.lake()}
        handles = {name: lake.ensure(RAW_IMAGES) for name, lake in ways.items()}
        batch = _rows([("i", [], b"\0" * 100_000)] * (APPEND_BYTES // 100_000), 0)
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
    settings, lake = _house(folder / "starts")
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, _rows([("i", [], b"p")], 0), {"bench": 1})
    own = folder / "starts" / "plain.conf"
    own.write_text(f"{(settings.spark_properties or own).read_text()}spark.driver.extraJavaOptions -Dbench=plain\n")
    ways = {"plain": settings.model_copy(update={"spark_properties": own}), "ours": settings}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(STARTS):
        for name, given in ways.items():
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks._spark_start"],
                input=given.model_dump_json(),
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parents[1],
            )
            wall, cpu = map(float, done.stdout.split()[-2:])
            found[name].append((wall, cpu))
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


def _house(folder: Path) -> tuple[Settings, Lake]:
    (folder / "tls").mkdir(parents=True)
    properties = folder / "spark.conf"
    properties.write_text("spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\nspark.driver.memory 1g\n")
    settings = Settings(home=folder, spark_master="local[2]", spark_properties=properties)
    open_key_store(settings).initialise()
    return settings, Lake(settings.lake_root)


def _twin(folder: Path, settings: Settings) -> Lake:
    """Another, empty lake for the same keys."""
    return Lake(str(folder / settings.home.name))


def _images(count: int = 40) -> list[bytes]:
    made = []
    for image in photographs(40):
        picture = Image.open(io.BytesIO(image))
        picture.thumbnail((_PIXELS, _PIXELS))
        target = io.BytesIO()
        picture.save(target, "JPEG", quality=85)
        made.append(target.getvalue())
    return [made[number % len(made)] for number in range(count)]


def _develop(settings: Settings, lake: Lake, pool: DecodePool, far: Compute | None = None) -> None:
    keys = open_key_store(settings)
    result = Developer(settings, lake, keys, None, pool, far=far).develop()
    if result.quarantined:
        raise RuntimeError(f"Photographs of the benchmark were turned away: {result.quarantined}.")


def _land(lake: Lake, sealed: list[Sealed], start: int) -> None:
    """Land records as commits of some megabytes, offsets from `start` on."""
    handle = lake.ensure(RAW_IMAGES)
    for first in range(0, len(sealed), 1000):
        rows = _rows(sealed[first : first + 1000], start + first)
        identifier = Position(_TOPIC, 0, _TOPIC_ID).app_id
        lake.append(handle, RAW_IMAGES, rows, {identifier: start + first + rows.num_rows - 1})


def _rows(sealed: list[Sealed], start: int, day: date | None = None) -> pa.Table:
    now = datetime.now(UTC)
    rows = [
        {
            "topic": _TOPIC,
            "topic_id": _TOPIC_ID,
            "partition": 0,
            "offset": start + number,
            "timestamp": now,
            "key": id.encode(),
            "headers": [{"key": name, "value": value} for name, value in headers],
            "payload": value,
            "payload_sha256": b"s" * 32,
            "origin_cluster": "bench",
            "landed_at": now,
            "day": day or now.date(),
        }
        for number, (id, headers, value) in enumerate(sealed)
    ]
    return pa.Table.from_pylist(rows, schema=RAW_IMAGES.schema)


def _old_files(lake: Lake, count: int) -> None:
    """Files of days long done, of another topic id, so that nothing in them waits."""
    handle = lake.ensure(RAW_IMAGES)
    first = datetime.now(UTC).date() - timedelta(days=400)
    tables = []
    for number in range(count):
        rows = _rows([("i", [], b"p")], number, first + timedelta(days=number % 300))
        tables.append(rows.set_column(1, RAW_IMAGES.schema.field(1), pa.array(["BBBBBBBBQACAAAAAAAAAAA"])))
    lake.replace_files(handle, RAW_IMAGES, tables, [], {"old": 1})


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and all it started, and wall seconds."""
    began, wall = _cpu(), time.perf_counter()
    work()
    return _cpu() - began, time.perf_counter() - wall


def _cpu() -> float:
    """CPU seconds of this process, of those that live below it, and of those that ended and were waited for."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
