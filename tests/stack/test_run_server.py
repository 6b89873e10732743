"""Runs begin warm: each is a process of its own, forked from one that has imported the code location."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from stack.forked_runs import seconds_to_next_claim
from stack.run_server import PRELOADED, warm

SCRIPT = """
import json, os, signal, time
import psutil
from stack.run_server import warm
from tests.stack import warm_location

class Plain:
    def __init__(self):
        self._mp_ctx = None

def gone(pid):
    # Nobody has waited for it who could say how it ended.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False

def main():
    server = warm(Plain, "tests.stack.warm_location")()
    told = []
    for _ in range(2):
        queue = server._mp_ctx.Queue()
        process = server._mp_ctx.Process(target=warm_location.tell, args=[queue])
        process.start()
        told.append(queue.get(timeout=60))
        process.join(60)
    queue = server._mp_ctx.Queue()
    process = server._mp_ctx.Process(target=warm_location.wait, args=[queue])
    process.start()
    pid = queue.get(timeout=60)
    os.kill(told[0]["parent"], signal.SIGKILL)
    print(json.dumps({"own": os.getpid(), "told": told, "gone": gone(pid)}))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    script = tmp_path_factory.mktemp("warm") / "server.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def test_each_run_has_a_process_of_its_own_whose_parent_has_imported_everything_once(told) -> None:
    first, second = told["told"]
    assert len({told["own"], first["pid"], second["pid"]}) == 3
    assert first["parent"] == second["parent"] != told["own"]
    assert first["imported_by"] == second["imported_by"] == first["parent"], "the parent imported it, for both"


def test_the_process_that_forks_has_no_thread_that_could_hold_a_lock_of_a_runs(told) -> None:
    # jemalloc, which Arrow and delta-rs bring, takes its own locks around a fork; OpenBLAS ends its threads before one.
    for one in told["told"]:
        assert [name for name in one["threads_of_parent"] if name != "jemalloc_bg_thd"] == ["python"]


def test_what_is_imported_before_is_there_and_nothing_that_starts_threads(told) -> None:
    for one in told["told"]:
        assert set(PRELOADED) <= set(one["modules"])
        assert "polars" not in one["modules"]


def test_a_run_is_told_to_end_with_the_process_that_it_was_forked_from(told) -> None:
    assert told["gone"] is True


def test_runs_that_are_gone_are_looked_for_again_after_an_error() -> None:
    class Failing:
        def __init__(self) -> None:
            self._logger = logging.getLogger("test")
            self.looked = 0

        def _check_for_orphaned_runs(self) -> None:
            self.looked += 1
            raise OSError("no room for an event")

    server = object.__new__(warm(Failing, "tests"))  # type: ignore[arg-type]
    Failing.__init__(server)
    server._check_for_orphaned_runs()
    server._check_for_orphaned_runs()
    assert server.looked == 2


def test_a_run_that_waits_for_a_pool_sleeps_until_it_is_to_ask_again() -> None:
    waiting = SimpleNamespace(
        _pending_claims={"step"}, _pending_timeouts={"step": time.time() + 5, "b": time.time() + 9}
    )
    assert 4 < seconds_to_next_claim(waiting) <= 5
    assert seconds_to_next_claim(SimpleNamespace(_pending_timeouts={"step": time.time() - 5})) == 0
    assert seconds_to_next_claim(SimpleNamespace(_pending_timeouts={})) == 0


def test_dagster_itself_does_not_wait() -> None:
    own = InstanceConcurrencyContext.interval_to_next_pending_claim_check
    waiting = SimpleNamespace(_pending_claims={"step"}, _pending_timeouts={"step": time.time() + 5})
    assert own(waiting) == 0, "Dagster waits by itself now: take wait_for_pools out of stack/forked_runs.py"


def test_dagster_takes_its_processes_from_where_they_are_replaced() -> None:
    from dagster._grpc import server

    assert "_mp_ctx.Process(" in Path(server.__file__).read_text(), (
        "Dagster starts runs otherwise now: stack/run_server.py has no effect, and each run imports everything again"
    )
