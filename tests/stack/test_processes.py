"""Which processes are ours: by what they carry, and by pid with start time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.processes import SERVICE, STACK, alive, end_services, living, remember
from stack.state import Remembered, StackState

SLEEP = "import time; time.sleep(120)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}], env={{}})"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(120)"
)


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    return StackState(home=tmp_path, run=tmp_path)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        for child in psutil.Process(process.pid).children() if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()


def start(code: str, started: list[subprocess.Popen], **marks: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **marks}, stdout=subprocess.PIPE, text=True
    )
    started.append(process)
    return process


def test_a_pid_that_was_given_away_again_is_not_ours():
    own = psutil.Process()
    assert alive(Remembered(name="kafka", pid=own.pid, started=own.create_time())) is not None
    assert alive(Remembered(name="kafka", pid=own.pid, started=own.create_time() - 60)) is None


def test_a_process_that_nobody_remembers_is_found_by_what_it_carries(state: StackState, started: list):
    ours = start(SLEEP, started, **{STACK: state.id, SERVICE: "daemon"})
    start(SLEEP, started, **{STACK: "another", SERVICE: "daemon"})
    found = living(state)
    assert {name: [one.pid for one in processes] for name, processes in found.items()} == {"daemon": [ours.pid]}


def test_a_child_that_carries_nothing_belongs_to_its_parents_service(state: StackState, started: list):
    parent = start(PARENT, started, **{STACK: state.id, SERVICE: "postgres"})
    while not psutil.Process(parent.pid).children():
        assert parent.poll() is None
    assert len(living(state)["postgres"]) == 2


def test_a_remembered_process_is_found_without_any_mark(state: StackState, started: list):
    process = start(SLEEP, started)
    known = remember("kafka", process.pid)
    assert known is not None
    state.processes = [known]
    assert [one.pid for one in living(state)["kafka"]] == [process.pid]


def test_neither_the_command_that_looks_nor_what_it_started_is_among_what_it_would_end(
    state: StackState, started: list
):
    own = remember("kafka", os.getpid())
    assert own is not None
    start(SLEEP, started)
    state.processes = [own]
    assert living(state) == {}


def test_one_that_will_not_end_is_killed_and_named(state: StackState, started: list):
    deaf = start(STUBBORN, started, **{STACK: state.id, SERVICE: "daemon"})
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "deaf\n"
    said = end_services(living(state), [["daemon"]], seconds=0.3)
    assert len(said) == 1
    assert said[0].startswith(f"daemon ({deaf.pid})")
    assert not psutil.pid_exists(deaf.pid)
