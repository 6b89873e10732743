"""A house of its own for a benchmark: keys, a lake, and images that wait to be developed."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from PIL import Image

from benchmarks._photographs import photographs
from benchmarks._sealed import Sealed
from resources.compute import Compute
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.keys import open_key_store
from resources.lake import Lake
from resources.settings import Settings
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES

_PIXELS = 256
_TOPIC, _TOPIC_ID = "images.raw", "AAAAAAAAQACAAAAAAAAAAA"


def house(folder: Path) -> tuple[Settings, Lake]:
    """Settings whose home is a new folder, with keys, and its lake."""
    (folder / "tls").mkdir(parents=True)
    properties = folder / "spark.conf"
    properties.write_text("spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\nspark.driver.memory 1g\n")
    settings = Settings(home=folder, spark_master="local[2]", spark_properties=properties)
    open_key_store(settings).initialise()
    return settings, Lake(settings.lake_root)


def small_photographs(count: int = 40) -> list[bytes]:
    """JPEGs of at most 256 pixels a side, of forty pictures in turn."""
    made = []
    for image in photographs(40):
        picture = Image.open(io.BytesIO(image))
        picture.thumbnail((_PIXELS, _PIXELS))
        target = io.BytesIO()
        picture.save(target, "JPEG", quality=85)
        made.append(target.getvalue())
    return [made[number % len(made)] for number in range(count)]


def develop_all(settings: Settings, lake: Lake, pool: DecodePool, far: Compute | None = None) -> None:
    """Develop what waits; an image that is turned away ends the benchmark."""
    keys = open_key_store(settings)
    result = Developer(settings, lake, keys, None, pool, far=far).develop()
    if result.quarantined:
        raise RuntimeError(f"Photographs of the benchmark were turned away: {result.quarantined}.")


def land_sealed(lake: Lake, sealed: list[Sealed], start: int) -> None:
    """Land records as commits of some megabytes, offsets from `start` on."""
    handle = lake.ensure(RAW_IMAGES)
    for first in range(0, len(sealed), 1000):
        rows = bronze_rows(sealed[first : first + 1000], start + first)
        identifier = Position(_TOPIC, 0, _TOPIC_ID).app_id
        lake.append(handle, RAW_IMAGES, rows, {identifier: start + first + rows.num_rows - 1})


def bronze_rows(sealed: list[Sealed], start: int) -> pa.Table:
    """Records as landing writes them, their offsets from `start` on."""
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
            "day": now.date(),
        }
        for number, (id, headers, value) in enumerate(sealed)
    ]
    return pa.Table.from_pylist(rows, schema=RAW_IMAGES.schema)
