"""The stage for tests of developing: a lake, a key store and bronze in one folder, and ways to disturb it."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from cli.hostile import sound_png
from resources.decoding import DecodePool
from resources.derived_tables import DerivedTables
from resources.developing import Developer, DevelopResult
from resources.keys import open_key_store
from resources.lake import Lake
from resources.postgres import StatusRow, StatusUnavailable
from resources.replay import ReplayResult, replay
from resources.settings import Settings
from tests.resources.developing.bronze_rows import Bronze
from transforms.envelope import open_field
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

LATER = datetime(2026, 3, 5, 12, 1, tzinfo=UTC)


class Board:
    """Stands in for the projection: keeps what it is told, or is away."""

    def __init__(self, away: bool = False) -> None:
        self.rows: list[StatusRow] = []
        self.away = away

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        if self.away:
            raise StatusUnavailable("PostgreSQL is away")
        self.rows += rows


class Stage:
    """A lake, a key store and bronze in one folder, and the means to look at what came of them."""

    def __init__(self, home: Path, pool: DecodePool) -> None:
        self.settings = Settings(home=home, key_cache_seconds=0)
        self.lake = Lake(self.settings.lake_root)
        self.keys = open_key_store(self.settings)
        self.keys.initialise()
        self.bronze = Bronze(self.lake, self.keys)
        self.pool = pool
        self.board = Board()

    def developer(self, **changed: object) -> Developer:
        settings = self.settings.model_copy(update=changed)
        return Developer(settings, self.lake, self.keys, self.board, self.pool, now=lambda: LATER)

    def develop(self, **changed: object) -> DevelopResult:
        return self.developer(**changed).develop()

    def replay(self, reason: Reason | None = None, **changed: object) -> ReplayResult:
        settings = self.settings.model_copy(update=changed)
        return replay(settings, self.lake, self.keys, self.board, self.pool, reason=reason, now=lambda: LATER)

    def processed(self) -> pl.DataFrame:
        return pl.read_delta(self.lake.uri(PROCESSED_IMAGES.name)).sort("partition", "offset")

    def quarantined(self) -> pl.DataFrame:
        return pl.read_delta(self.lake.uri(QUARANTINED_IMAGES.name)).sort("partition", "offset")

    def reasons(self) -> list[str]:
        return self.quarantined()["reason"].to_list()

    def opened(self, row: dict[str, object], column: str) -> bytes | None:
        """A sealed value, opened as a reader opens it."""
        sealed = row[column]
        if sealed is None:
            return None
        assert isinstance(sealed, bytes)
        key = self.keys.open_key(str(row["key"]))
        return open_field(sealed, table=PROCESSED_IMAGES.name, column=column, id=str(row["id"]), day=key.day, key=key)


def scan(number: int) -> bytes:
    """A small good image without colour, as digits are; another for each number."""
    noise = random.Random(number).randbytes(64)
    target = io.BytesIO()
    Image.frombytes("L", (8, 8), noise).save(target, "PNG")
    return target.getvalue()


def picture(number: int) -> bytes:
    """A small good image, another for each number."""
    return sound_png(16 + number, 16)


class Killed(BaseException):
    """Stands in for kill -9: nothing below catches it."""


def beside(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str, other: object) -> None:
    """Run `other` once, at the worst moment: after one developer looked and before it commits."""
    real = getattr(DerivedTables, step)
    done = False

    def disturbed(self: DerivedTables, *arguments: object) -> object:
        nonlocal done
        if not done:
            done = True
            assert callable(other)
            other()
        return real(self, *arguments)

    monkeypatch.setattr(DerivedTables, step, disturbed)
