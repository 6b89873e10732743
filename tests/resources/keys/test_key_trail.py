"""Each key that is opened from the store is in the trail before it is given out, by day and suffix alone."""

from __future__ import annotations

import json
import multiprocessing
import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from resources.key_objects import KeyDestroyed, KeyUnavailable
from resources.key_trail import TRAIL, KeyTrail
from resources.keys import KeyStore, open_key_store
from resources.settings import Settings
from transforms.names import KeyName

DAY, WHO = date(2026, 11, 23), "b" * 16


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, kafka_certificate=tmp_path / "tls" / "uploads.crt", key_cache_seconds=3600)


@pytest.fixture
def store(settings: Settings) -> KeyStore:
    made = open_key_store(settings)
    made.initialise()
    return made


def lines(settings: Settings) -> list[dict[str, str]]:
    path = settings.home / "logs" / TRAIL
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_each_opening_is_a_line_and_what_is_remembered_is_none(settings: Settings, store: KeyStore) -> None:
    key = store.current_key(DAY, WHO)
    name = f"{DAY}/{KeyName.parse(key.name).suffix}"
    assert [(line["who"], line["key"]) for line in lines(settings)] == [("uploads", name)]
    for _ in range(3):
        store.current_key(DAY, WHO)
        store.open_key(key.name)
    assert len(lines(settings)) == 1
    other = settings.model_copy(update={"kafka_certificate": settings.home / "tls" / "recogniser.crt"})
    for _ in range(3):
        open_key_store(other).open_key(key.name)
    assert [line["who"] for line in lines(settings)] == ["uploads", *["recogniser"] * 3]
    assert abs((datetime.now(UTC) - datetime.fromisoformat(lines(settings)[-1]["time"])).total_seconds()) < 60
    path = settings.home / "logs" / TRAIL
    assert WHO not in path.read_text(), "it outlives the day, and names nobody"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_cannot_be_put_on_the_trail_is_not_given_out(settings: Settings, store: KeyStore) -> None:
    key = store.current_key(DAY, WHO)
    path = settings.home / "logs" / TRAIL
    path.unlink()
    path.mkdir()
    fresh = open_key_store(settings)
    for _ in range(2):
        with pytest.raises(KeyUnavailable, match=r"was not opened: the trail .*keys\.log cannot be written"):
            fresh.open_key(key.name)
        with pytest.raises(KeyUnavailable, match="was not opened"):
            fresh.current_key(DAY, WHO)
    path.rmdir()
    assert fresh.open_key(key.name) == key


def test_a_destroyed_key_is_opened_by_nobody(settings: Settings, store: KeyStore) -> None:
    key = store.current_key(DAY, WHO)
    purge = settings.model_copy(update={"kafka_certificate": settings.home / "tls" / "upkeep.crt"})
    open_key_store(purge).destroy_day(DAY, "a test")
    before = lines(settings)
    with pytest.raises(KeyDestroyed):
        open_key_store(settings).open_key(key.name)
    assert lines(settings) == before


def write(path: Path, who: str) -> None:
    trail = KeyTrail(path, who)
    for number in range(500):
        trail(f"{who}-{number}")


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    names = ["one" * 20, "two" * 30, "three" * 40]
    writers = [context.Process(target=write, args=(tmp_path / TRAIL, name)) for name in names]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    found = [json.loads(line)["key"] for line in (tmp_path / TRAIL).read_text().splitlines()]
    for name in names:
        assert [key for key in found if key.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(500)]
