"""The stage for tests of the key store: a folder, a clock that stands still, other processes' views."""

from datetime import UTC, datetime

import pytest

from resources.key_objects import KeyObjects
from resources.key_provider import LocalKeyProvider
from resources.keys import KeyStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
AGE = 30.0


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def another(root, clock):
    """Another process's view of the same store: its own cache, the same clock."""

    def make(age=AGE) -> KeyStore:
        objects = KeyObjects(str(root))
        return KeyStore(objects, LocalKeyProvider(objects, lambda: NOW), age, now=lambda: NOW, timer=clock)

    return make


@pytest.fixture
def store(another):
    store = another()
    store.initialise()
    return store


@pytest.fixture
def cmk(root):
    return LocalKeyProvider(KeyObjects(str(root)), lambda: NOW)
