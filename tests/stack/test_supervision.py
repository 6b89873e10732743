"""The supervisor itself, with a process that only sleeps: what it knows after `up` was killed at a bad moment."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stack.paths import Layout, write_private
from stack.processes import wait_until
from stack.services import Service
from stack.state import StackState
from stack.supervision import Supervisor, configuration, configuration_file

SLEEP = (sys.executable, "-c", "import time; time.sleep(120)")
# A child that was just forked still has the handlers of the supervisor, and would not hear TERM.
ONE, TWO = (Service(name, SLEEP, stop_signal="KILL") for name in ("one", "two"))


@pytest.fixture
def layout() -> Iterator[Layout]:
    # A socket's path must be short.
    layout = Layout(Path(tempfile.mkdtemp(prefix="darkroom-test-")))
    for folder in (layout.state, layout.logs, layout.run):
        folder.mkdir()
    yield layout
    shutil.rmtree(layout.home)


@pytest.fixture
def state(layout: Layout) -> StackState:
    return StackState(home=layout.home, run=layout.run)


@pytest.fixture
def supervisor(layout: Layout, state: StackState) -> Iterator[Supervisor]:
    supervisor = Supervisor(layout, state)
    supervisor.configure([ONE])
    supervisor.launch()
    supervisor.start("one")
    yield supervisor
    supervisor.shutdown()
    assert wait_until(lambda: not supervisor.runs(), 20)


def test_a_service_that_was_written_down_and_not_told_is_known_after_the_next_configuring(
    layout: Layout, state: StackState, supervisor: Supervisor
):
    """Bug prevented: `up` was killed between the two, and every later one was refused to start what was new."""
    write_private(configuration_file(layout), configuration(layout, state, [ONE, TWO]))
    pid = supervisor.processes()["one"]["pid"]
    assert supervisor.configure([ONE, TWO]) == []
    supervisor.start("two")
    assert set(supervisor.processes()) == {"one", "two"}
    assert supervisor.processes()["one"]["pid"] == pid, "what had not changed goes on"


def test_a_service_that_changed_is_stopped_and_named(supervisor: Supervisor):
    assert supervisor.configure([replace(ONE, command=(*SLEEP, "otherwise"))]) == ["one"]
    supervisor.start("one")
    assert supervisor.configure([TWO]) == ["one"]
    assert set(supervisor.processes()) == {"two"}
