"""One pool of decoding processes for all these tests, and a fresh stage for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.decoding import DecodePool
from resources.settings import Settings
from tests.resources.developing.stage import Stage


@pytest.fixture(scope="session")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    return Stage(tmp_path, pool)
