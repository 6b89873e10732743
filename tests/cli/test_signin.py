"""`darkroom signin` where it cannot be done: a sentence, and no password is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.paths import Layout
from stack.state import StackState, save_state
from tests.live_stack import run_darkroom


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({}, "has no gateway yet: `darkroom up` starts it"),
        ({"gateway": 1}, "tls/ca.crt cannot be read (No such file or directory)"),
    ],
    ids=["a home of before the gateway", "no authority"],
)
def test_without_a_door_that_can_be_trusted_nobody_signs_in(tmp_path: Path, ports: dict[str, int], said: str):
    """Bug prevented: where the authority was missing there was a traceback."""
    layout = Layout(tmp_path)
    layout.state.mkdir()
    save_state(layout.home, StackState(home=layout.home, run=layout.run, ports=ports))
    done = run_darkroom(tmp_path, "signin", "ada")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr and "Password" not in done.stderr
