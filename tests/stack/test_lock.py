"""The locks of a stack: whoever waits too long is told which one, and who has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack import lock
from stack.errors import StackError
from stack.lock import exclusively
from stack.paths import Layout


@pytest.mark.parametrize("name", ["lock", "people.lock"])
def test_the_lock_that_is_held_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.0)
    said: list[str] = []
    with (
        exclusively(Layout(tmp_path), said.append, name),
        pytest.raises(StackError, match=rf"pid {os.getpid()}\) has held {tmp_path}/state/{name} for over"),
        exclusively(Layout(tmp_path), said.append, name),
    ):
        pass
    assert len(said) == 1


def test_two_locks_do_not_wait_for_each_other(tmp_path: Path):
    said: list[str] = []
    with exclusively(Layout(tmp_path), said.append), exclusively(Layout(tmp_path), said.append, "people.lock"):
        pass
    assert not said
