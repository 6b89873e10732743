"""Landers that are killed, and one that is stopped until another has taken over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream

pytestmark = pytest.mark.stack

RECORDS = 3000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    """A topic with 48 MB in two partitions, an empty lake, commits of 1 MB."""
    with own_stream(stack.settings("admin"), tmp_path) as made:
        for partition in (0, 1):
            made.send([os.urandom(16_000) for _ in range(RECORDS // 2)], partition=partition)
        yield made


def start(stream: Stream) -> subprocess.Popen[str]:
    """A lander in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.resources.lander_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    process.stdin.write(stream.settings.model_dump_json() + "\n")
    process.stdin.flush()
    return process


def wait_for(process: subprocess.Popen[str], *words: str) -> str:
    """The next line that begins with one of the words; fails when the process ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(words):
            return line
    raise AssertionError(f"the lander ended ({process.wait()}) before it said one of {words}")


def test_five_kills_leave_no_gap_and_no_double(stream: Stream) -> None:
    landed: list[int] = []
    for attempt in range(5):
        process = start(stream)
        # Once before the first commit, then within commits or between them.
        # A late one may find nothing left to land; that the first found enough is looked at below.
        wait_for(process, *(["ready"] if attempt == 0 else ["landed", "done"]))
        time.sleep(random.uniform(0, 0.03))
        process.kill()
        process.wait()
        if attempt:
            landed.append(sum(map(len, stream.offsets().values())))
    assert landed == sorted(landed)
    assert landed[0] < RECORDS, "every record had landed before the first kill: it showed nothing"
    stream.lander().land()
    assert stream.offsets() == {0: list(range(RECORDS // 2)), 1: list(range(RECORDS // 2))}


def test_a_lander_that_slept_while_another_took_over_is_refused_and_doubles_nothing(stream: Stream) -> None:
    sleeper = start(stream)
    try:
        wait_for(sleeper, "landed")
        os.kill(sleeper.pid, signal.SIGSTOP)
        before = sum(map(len, stream.offsets().values()))
        assert before < RECORDS, "the lander had landed everything before it was stopped: it showed nothing"
        taken_over = stream.lander().land().records
        assert before + taken_over == RECORDS
        os.kill(sleeper.pid, signal.SIGCONT)
        # What it held when it was stopped, it tried to commit; the table refused it.
        assert wait_for(sleeper, "refused").split()[1] == "CommitConflict"
        said = wait_for(sleeper, "done")
        assert sleeper.wait(60) == 0
        # It says what it landed itself, and none of what it held when it was stopped.
        assert int(said.split()[1]) == before
    finally:
        sleeper.kill()
        sleeper.wait()
    assert stream.offsets() == {0: list(range(RECORDS // 2)), 1: list(range(RECORDS // 2))}
