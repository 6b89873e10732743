"""The life of keys: rotated they open what they opened before, switched off nothing, destroyed never again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from resources.audit import AuditUnavailable
from resources.key_life import KeyLife
from resources.key_objects import KeyDestroyed, KeyObjects, KeyUnavailable
from resources.key_places import key_objects
from resources.key_provider import CMK, LocalKeyProvider
from resources.keys import KeyStore, open_key_store
from resources.settings import Settings
from tests.resources.dying import killed_at

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAYS = [date(2026, 11, number) for number in (20, 21, 22)]
WHO = "b" * 16


class Stage:
    """A key store in a folder, and its owner."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, key_cache_seconds=0)
        (home / "logs").mkdir()
        self.now = NOW
        self.store.initialise()
        self.keys = {day: self.store.current_key(day, WHO) for day in DAYS}

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "keys": {}}  # a data key does not travel

    @property
    def store(self) -> KeyStore:
        """As another process sees it."""
        return open_key_store(self.settings, lambda: self.now)

    @property
    def life(self) -> KeyLife:
        return KeyLife(self.settings, "olga", "a test", now=lambda: self.now, wait=lambda _: None)

    def bytes(self) -> bytes:
        """All that the store's files hold."""
        return b"".join(path.read_bytes() for path in Path(self.settings.keys_root).rglob("*") if path.is_file())

    def cmk(self) -> dict[str, str]:
        return json.loads((Path(self.settings.keys_root) / CMK).read_text())

    def audited(self) -> list[str]:
        log = self.settings.home / "logs" / "audit.log"
        return [json.loads(line)["event"] for line in log.read_text().splitlines()] if log.is_file() else []

    def all_open(self) -> bool:
        return all(self.store.open_key(key.name) == key for key in self.keys.values())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_rotated_everything_opens_and_the_former_key_is_nowhere(stage: Stage) -> None:
    former, secret = stage.cmk(), stage.store.platform_secret()
    wrapped = [json.loads(path.read_text())["wrapped"] for path in (stage.settings.home / "keys/days").iterdir()]
    anew = list(stage.life.rotate())
    assert anew == ["platform-secret", *(day.isoformat() for day in DAYS)]
    assert stage.all_open()
    assert stage.store.platform_secret() == secret
    assert stage.store.current_key(DAYS[0], WHO) == stage.keys[DAYS[0]]
    for gone in (former["id"], former["material"], *wrapped):
        assert gone.encode() not in stage.bytes()
    assert stage.life.customer().older == ()
    assert len(list(stage.life.rotate())) == 1 + len(DAYS), "and again"
    assert stage.all_open()


def rotate(stage: Stage) -> None:
    list(stage.life.rotate())


ROTATING = {
    "before the new key": (LocalKeyProvider, "rotate", 0),
    **{f"before write {n}": (KeyObjects, "_put", n) for n in range(6)},
    "before the former key is erased": (LocalKeyProvider, "forget_older", 0),
}


@pytest.mark.parametrize("step", ROTATING)
def test_a_rotation_that_is_killed_at_any_step_leaves_all_open_and_is_finished_by_the_next(
    stage: Stage, step: str
) -> None:
    former = stage.cmk()
    killed_at(rotate, stage, *ROTATING[step])
    assert stage.all_open()
    made_meanwhile = stage.store.current_key(date(2026, 11, 23), WHO)
    list(stage.life.rotate())
    assert stage.all_open()
    assert stage.store.open_key(made_meanwhile.name) == made_meanwhile
    assert former["material"].encode() not in stage.bytes()


def test_of_many_who_exchange_one_object_at_once_one_is_taken(stage: Stage) -> None:
    """On object storage the server's condition does this; in a folder the lock."""
    path = f"days/{DAYS[0]}.json"
    everybody = [key_objects(stage.settings) for _ in range(8)]
    first = everybody[0].read(path)
    assert first is not None
    with ThreadPoolExecutor(8) as threads:
        for trial in range(20):
            offers = [{"kind": "trial", "number": f"{trial}-{number}"} for number in range(8)]
            asked = [
                threads.submit(one.exchange, path, offer, first) for one, offer in zip(everybody, offers, strict=True)
            ]
            taken = [one.result() for one in asked]
            assert taken.count(True) == 1
            first = offers[taken.index(True)]
            assert everybody[0].read(path) == first


def test_keys_made_while_the_owner_rotates_all_open_afterwards(stage: Stage) -> None:
    made, done = [], threading.Event()

    def make() -> None:
        day = date(2026, 1, 1)
        while not done.is_set():
            made.append(stage.store.current_key(day, WHO))
            day += timedelta(days=1)

    maker = threading.Thread(target=make)
    maker.start()
    try:
        while len(made) < 40 and maker.is_alive():
            list(stage.life.rotate())
    finally:
        done.set()
        maker.join()
    assert len(made) >= 40
    assert all(stage.store.open_key(key.name) == key for key in made)


def test_a_day_destroyed_while_its_key_is_wrapped_anew_stays_destroyed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = KeyObjects.exchange

    def overtaken(self: KeyObjects, path: str, document: dict[str, str], was: dict[str, str]) -> bool:
        if path == f"days/{DAYS[1]}.json":
            stage.life.destroy_day(DAYS[1])
        return real(self, path, document, was)

    monkeypatch.setattr(KeyObjects, "exchange", overtaken)
    assert DAYS[1].isoformat() not in list(stage.life.rotate())
    with pytest.raises(KeyDestroyed):
        stage.store.open_key(stage.keys[DAYS[1]].name)
    assert stage.store.open_key(stage.keys[DAYS[2]].name) == stage.keys[DAYS[2]]


def test_switched_off_nothing_opens_and_on_again_everything(stage: Stage) -> None:
    assert stage.life.disable().state == "disabled"
    with pytest.raises(KeyUnavailable, match="is disabled: nothing is opened or sealed until its owner enables it"):
        stage.store.open_key(stage.keys[DAYS[0]].name)
    with pytest.raises(KeyUnavailable, match="disabled"):
        next(stage.life.rotate())
    assert stage.life.enable().state == "enabled"
    assert stage.all_open()


def test_a_deletion_is_taken_back_in_its_window_and_after_it_the_material_is_erased(stage: Stage) -> None:
    material = stage.cmk()["material"].encode()
    pending = stage.life.destroy_all(7)
    assert (pending.state, pending.until) == ("pending deletion", NOW + timedelta(days=7))
    with pytest.raises(KeyUnavailable, match="to be deleted at 2026-11-30T12:00:00"):
        stage.store.open_key(stage.keys[DAYS[0]].name)
    assert stage.life.enable().state == "enabled"
    assert stage.all_open()
    stage.life.destroy_all(7)
    stage.now = NOW + timedelta(days=7)
    with pytest.raises(KeyUnavailable, match="was destroyed at 2026-11-30T12:00:00"):
        stage.store.open_key(stage.keys[DAYS[0]].name)
    assert material not in stage.bytes(), "whoever looked first has erased it"
    for late in (stage.life.enable, stage.life.disable, lambda: next(stage.life.rotate())):
        with pytest.raises(KeyUnavailable, match="destroyed"):
            late()
    gone = stage.life.customer()
    assert (gone.state, gone.until, stage.cmk()["destroyed_by"]) == ("destroyed", stage.now, "olga")


def test_without_a_window_it_is_gone_at_once(stage: Stage) -> None:
    material = stage.cmk()["material"].encode()
    assert stage.life.destroy_all(0).state == "destroyed"
    assert material not in stage.bytes()
    with pytest.raises(KeyUnavailable, match="destroyed"):
        stage.store.platform_secret()


def destroy_a_day(stage: Stage) -> None:
    stage.life.destroy_day(DAYS[0])
    stage.life.clear_days()


def destroy_all(stage: Stage) -> None:
    stage.life.destroy_all(0)


DESTROYING = {
    "before the tombstone": (KeyObjects, "_put", 0),
    "behind the tombstone, before older versions": (KeyObjects, "forget_versions", 0),
    "before what lay under it": (KeyObjects, "delete", 0),
    "between two of those": (KeyObjects, "delete", 1),
}


@pytest.mark.parametrize("step", DESTROYING)
def test_a_destruction_that_is_killed_at_any_step_is_finished_by_the_next(stage: Stage, step: str) -> None:
    killed_at(destroy_a_day, stage, *DESTROYING[step])
    destroy_a_day(stage)
    with pytest.raises(KeyDestroyed):
        stage.store.open_key(stage.keys[DAYS[0]].name)
    lie = {path.parent.name for path in (stage.settings.home / "keys/data").rglob("*.json")}
    assert lie == {day.isoformat() for day in DAYS[1:]}, "nothing lies under the destroyed key"
    assert all(stage.store.open_key(stage.keys[day].name) == stage.keys[day] for day in DAYS[1:])


@pytest.mark.parametrize("writes", range(2))
def test_the_destruction_of_all_that_is_killed_at_any_write_is_finished_by_the_next(stage: Stage, writes: int) -> None:
    material = stage.cmk()["material"].encode()
    killed_at(destroy_all, stage, KeyObjects, "_put", writes)
    destroy_all(stage)
    assert material not in stage.bytes()
    with pytest.raises(KeyUnavailable, match="destroyed"):
        stage.store.platform_secret()


DEEDS: dict[str, Callable[[KeyLife], object]] = {
    "keys rotate": lambda life: list(life.rotate()),
    "keys disable": KeyLife.disable,
    "keys enable": KeyLife.enable,
    "keys destroy": lambda life: life.destroy_day(DAYS[0]),
    "keys destroy-all": lambda life: life.destroy_all(7),
}


@pytest.mark.parametrize("event", DEEDS)
def test_a_deed_is_in_the_audit_log_and_is_not_done_where_it_cannot_be_written(stage: Stage, event: str) -> None:
    before = stage.bytes()
    logs = stage.settings.home / "logs"
    (logs / "audit.log").mkdir()
    with pytest.raises(AuditUnavailable):
        DEEDS[event](stage.life)
    assert stage.bytes() == before
    (logs / "audit.log").rmdir()
    DEEDS[event](stage.life)
    assert stage.audited() == [event]
    line = json.loads((logs / "audit.log").read_text())
    assert (line["who"], line["why"]) == ("olga", "a test")
