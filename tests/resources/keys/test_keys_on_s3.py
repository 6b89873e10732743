"""The key store on a real S3 server: the same promises as in a folder, with the settings that the lake has."""

from __future__ import annotations

import json
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from benchmarks._s3 import S3Server
from resources.key_objects import KeyDestroyed, KeyUnavailable
from resources.key_places import key_objects
from resources.keys import KeyStore, open_key_store
from resources.settings import Settings
from transforms.names import pseudonym

DAY = date(2026, 3, 5)


@pytest.fixture
def settings(s3_server: S3Server) -> Settings:
    """Settings whose key store is a new, empty place of the bucket."""
    return s3_server.settings(keys=f"s3://darkroom/{uuid.uuid4().hex}/keys", key_cache_seconds=0)


@pytest.fixture
def store(settings: Settings) -> KeyStore:
    made = open_key_store(settings)
    made.initialise()
    return made


def test_a_key_is_made_once_however_many_ask_at_once_and_every_process_opens_it(
    settings: Settings, store: KeyStore
) -> None:
    whose = pseudonym(store.platform_secret(), "alice", DAY)
    others = [open_key_store(settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        names = {key.name for key in threads.map(lambda one: one.current_key(DAY, whose), others)}
    (name,) = names
    assert {one.open_key(name).material for one in others} == {store.open_key(name).material}
    assert {one.platform_secret() for one in others} == {store.platform_secret()}


def test_a_destroyed_key_opens_nowhere_any_more_and_its_material_is_gone(
    s3_server: S3Server, settings: Settings, store: KeyStore
) -> None:
    key = store.current_key(DAY, pseudonym(store.platform_secret(), "alice", DAY))
    place = s3_server.data / settings.keys_root.split("/", 3)[3]

    def wrapped() -> set[str]:
        found = [json.loads(path.read_text()) for path in place.rglob("*.json")]
        return {one["wrapped"] for one in found if "wrapped" in one}

    before = wrapped()
    store.destroy_key(key.name, "a test")
    with pytest.raises(KeyDestroyed):
        open_key_store(settings).open_key(key.name)
    assert len(before - wrapped()) == 1, "what was wrapped is overwritten"


def test_a_server_that_is_away_is_said_and_is_no_empty_store(s3_server: S3Server, store: KeyStore) -> None:
    key = store.current_key(DAY, pseudonym(store.platform_secret(), "alice", DAY))
    s3_server.stop(signal.SIGKILL)
    try:
        with pytest.raises(KeyUnavailable, match="key store"):
            store.open_key(key.name)
    finally:
        s3_server.start()
    assert store.open_key(key.name).material == key.material


def test_a_bucket_without_a_store_is_no_store(settings: Settings) -> None:
    with pytest.raises(KeyUnavailable, match="There is no key store at s3://darkroom"):
        open_key_store(settings).platform_secret()


def test_a_store_in_a_folder_asks_for_no_credentials_of_s3(s3_server: S3Server, tmp_path: Path) -> None:
    settings = s3_server.settings(keys=str(tmp_path / "keys"), s3_credentials=tmp_path / "not-written-yet")
    store = open_key_store(settings)
    store.initialise()
    assert store.platform_secret()


def test_an_object_is_exchanged_only_where_it_is_still_the_one_that_was_read(
    settings: Settings, store: KeyStore
) -> None:
    objects = key_objects(settings)
    objects.create("days/2026-03-05.json", first := {"kind": "trial", "number": "1"})
    assert objects.exchange("days/2026-03-05.json", second := {"kind": "trial", "number": "2"}, first)
    assert not objects.exchange("days/2026-03-05.json", {"kind": "trial", "number": "3"}, first)
    assert objects.read("days/2026-03-05.json") == second
    assert not objects.exchange("days/2026-03-06.json", second, first), "nothing stands there"
