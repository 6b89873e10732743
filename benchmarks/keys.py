"""What sealing costs, and what a purge costs that has other days beside it.

Sealing and opening are measured in CPU time of one thread, in turns with AES-256-GCM alone over the same bytes: that is
the floor. The share is of developing one photograph through and through: opening its envelope and sealing what is
kept of it, against decoding, thumbnail and hashes. A purge takes a day of 100,000 rows out of three tables that hold
nothing else, and out of three that hold six such days more, compacted as every hour; Kafka and PostgreSQL are left
out, for they are asked once whatever is there, but not the look at which records may go.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks._photographs import photographs
from benchmarks._rows import rows_of
from benchmarks.figures import Figure, median, spread
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.purge_kafka import first_to_stay
from resources.purging import Purge
from resources.settings import Settings
from resources.upkeep import maintain
from transforms.envelope import (
    NONCE_BYTES,
    DataKey,
    Metadata,
    clear_of,
    image_id,
    open_envelope,
    pseudonym,
    seal,
    seal_field,
)
from transforms.images import Developed, Limits, develop
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES

ALONE = True
"""It needs no stack, and figures of a purge suffer from one."""
SIZE, ROUNDS, AT_ONCE = 100_000, 7, 200
DAY_ROWS, OTHER_DAYS = 100_000, 6
LIMITS = Limits(max_bytes=10 * 1024 * 1024, max_pixels=50_000_000)
DAY = date(2026, 3, 5)


def run() -> list[Figure]:
    """All figures; about two minutes."""
    return [*_sealing(), _share(), _purge()]


def _sealing() -> list[Figure]:
    name, key, metadata, id = _key()
    image, gcm = os.urandom(SIZE), AESGCM(key.material)
    headers, value = seal(metadata, image, id=id, day=DAY, key=key, via="bench", nonce=os.urandom(NONCE_BYTES))
    clear = clear_of(headers)
    assert clear is not None and clear.key == name
    nonce = os.urandom(NONCE_BYTES)
    text = gcm.encrypt(nonce, image, b"")
    ways: dict[str, Callable[[], object]] = {
        "seal": lambda: seal(metadata, image, id=id, day=DAY, key=key, via="bench", nonce=os.urandom(NONCE_BYTES)),
        "open": lambda: open_envelope(clear, value, key),
        "encrypt": lambda: gcm.encrypt(os.urandom(NONCE_BYTES), image, b""),
        "decrypt": lambda: gcm.decrypt(nonce, text, b""),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, call in ways.items():
            began = time.thread_time()
            for _ in range(AT_ONCE):
                call()
            rates[way].append(AT_ONCE * SIZE / 1e6 / (time.thread_time() - began))
    figures = []
    for way, floor in (("seal", "encrypt"), ("open", "decrypt")):
        rate, alone = median(rates[way]), median(rates[floor])
        figures.append(
            Figure(f"{way} an image of 100 kB, a core", rate, "MB/s", 300, detail=f"CPU time, {spread(rates[way])}")
        )
        figures.append(
            Figure(f"{way} against AES-256-GCM alone", rate / alone, "times", detail=f"that: {alone:,.0f} MB/s")
        )
    return figures


def _share() -> Figure:
    _, key, metadata, id = _key()
    shares = []
    images = photographs(20)
    values = [
        seal(metadata, image, id=id, day=DAY, key=key, via="bench", nonce=os.urandom(NONCE_BYTES)) for image in images
    ]
    clear = clear_of(values[0][0])
    assert clear is not None
    for _ in range(ROUNDS):
        sealing = developing = 0.0
        for image, (_, value) in zip(images, values, strict=True):
            began = time.thread_time()
            open_envelope(clear, value, key)
            sealing += time.thread_time() - began
            began = time.thread_time()
            made = develop(image, LIMITS)
            developing += time.thread_time() - began
            assert isinstance(made, Developed)
            began = time.thread_time()
            for column in (made.thumbnail, hashlib.sha256(image).digest(), b"label", b"uploader", b"name"):
                seal_field(column, table="t", column="c", id=id, day=DAY, key=key, nonce=os.urandom(NONCE_BYTES))
            sealing += time.thread_time() - began
        shares.append(sealing / (sealing + developing))
    return Figure(
        "opening and sealing, of all CPU of developing a photograph",
        100 * median(shares),
        "%",
        10,
        "at most",
        f"{len(images)} JPEGs of 1 to 2 megapixels; {spread([100 * one for one in shares])}",
    )


def _key() -> tuple[str, DataKey, Metadata, str]:
    secret = os.urandom(32)
    whose = pseudonym(secret, "bench", DAY)
    name = f"{DAY}_{whose}_{'a' * 13}"
    metadata = Metadata("0" * 64, "image/jpeg", "a label", "bench", ("photo",), "a name.jpg", datetime.now(UTC))
    return name, DataKey(name, os.urandom(32)), metadata, image_id(secret, "bench", os.urandom(32), DAY)


class _NoStatus:
    def forget(self, last: date, kept: Sequence[date], people: Sequence[tuple[date, str]] = ()) -> int:
        return 0


class _OfTables(Purge):
    """Tables, files and keys; of broker and database only the look at what may go there."""

    def _purge_kafka(self, due: Any) -> dict[str, dict[int, int]]:
        return {"x": first_to_stay(self._lake, RAW_IMAGES, "x", due)}


def _purge() -> Figure:
    ratios, alone, beside = [], [], []
    for _ in range(3):
        alone.append(_purged(0))
        beside.append(_purged(OTHER_DAYS))
        ratios.append(beside[-1] / alone[-1])
    return Figure(
        f"purge a day of {DAY_ROWS:,} images with {OTHER_DAYS} such days beside it, against without",
        median(ratios),
        "times",
        1.5,
        "at most",
        f"CPU {median(beside):.2f} against {median(alone):.2f} s; three tables; {spread(ratios)}",
    )


def _purged(others: int) -> float:
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        settings = Settings(home=Path(folder))
        (settings.home / "logs").mkdir()
        keys = open_key_store(settings)
        keys.initialise()
        lake = open_lake(settings)
        for spec in (RAW_IMAGES, PROCESSED_IMAGES, IMAGE_FEATURES):
            for day in (DAY + timedelta(days=number) for number in range(1 + others)):
                for part in range(4):
                    rows = rows_of(spec, day, DAY_ROWS // 4)
                    lake.append(lake.ensure(spec), spec, rows, {"bench": (day - DAY).days * 4 + part + 1})
            maintain(lake, spec)  # as every hour

        def now() -> datetime:
            return datetime(2026, 3, 12, tzinfo=UTC)

        purge = _OfTables(settings, lake, _NoStatus(), now=now, witness=now)  # type: ignore[arg-type]
        began = time.process_time()
        done = purge.run()
        spent = time.process_time() - began
        assert done.rows == {spec.name: DAY_ROWS for spec in (RAW_IMAGES, PROCESSED_IMAGES, IMAGE_FEATURES)}, done.rows
        return spent
