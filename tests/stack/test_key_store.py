"""The key store at `up`: made once, and never made anew where one was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from resources.keys import open_key_store
from resources.settings import Settings
from stack.errors import StackError
from stack.key_store import settle_key_store
from stack.state import StackState


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    return StackState(home=tmp_path, run=tmp_path)


def test_a_store_is_made_at_the_first_up_and_kept_at_the_next(tmp_path: Path, state: StackState) -> None:
    settings = Settings(home=tmp_path)
    settle_key_store(state, settings)
    secret = open_key_store(settings).platform_secret()
    settle_key_store(state, settings)
    assert open_key_store(settings).platform_secret() == secret


def test_a_store_that_is_gone_is_not_replaced_by_an_empty_one(tmp_path: Path, state: StackState) -> None:
    settings = Settings(home=tmp_path)
    settle_key_store(state, settings)
    shutil.move(tmp_path / "keys", tmp_path / "unmounted")
    with pytest.raises(StackError, match="Put it back"):
        settle_key_store(state, settings)
    assert not (tmp_path / "keys" / "platform-secret.json").exists()
    shutil.move(tmp_path / "unmounted", tmp_path / "keys")
    settle_key_store(state, settings)


def test_another_place_named_on_purpose_gets_a_store_of_its_own(tmp_path: Path, state: StackState) -> None:
    settle_key_store(state, Settings(home=tmp_path))
    elsewhere = Settings(home=tmp_path, keys=str(tmp_path / "elsewhere"))
    settle_key_store(state, elsewhere)
    assert open_key_store(elsewhere).platform_secret() != open_key_store(Settings(home=tmp_path)).platform_secret()
