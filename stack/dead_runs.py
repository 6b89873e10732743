"""Before a code server starts, `python -m stack.dead_runs` fails the runs whose process is gone, and makes all pools.

A run tells Dagster the pid of its worker in an event. It is alive while that pid is a process of this stack that is
older than the event; then it is left alone, even when the code server that started it is gone. Limit: a run whose
worker never got so far as to say its pid counts as dead only when no worker of this stack lives at all; else
Dagster's monitoring ends it after its start timeout.

Dagster makes a pool when the first run claims it, and with PostgreSQL two runs that do so at once fail, one of them
with "current transaction is aborted": it goes on in the transaction of the insert that was refused.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil

from resources.pools import every_pool
from stack.code_server import UNFINISHED
from stack.forked_runs import FORKS
from stack.processes import STACK, marks

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun
    from dagster_postgres import PostgresRunStorage

CLOCK_SECONDS = 2.0
MESSAGE = (
    "The process of this run is gone (killed, or the machine went down), so it was failed when the stack's code server "
    "started again. Nothing is lost: the next run goes on where the last commit ended."
)


def fail_dead_runs(instance: DagsterInstance, stack_id: str) -> list[str]:
    """Fail every unfinished run whose process is gone, and free its places in pools. Returns their ids."""
    from dagster import DagsterRunStatus, RunsFilter

    statuses = [DagsterRunStatus(name) for name in UNFINISHED]
    workers = _workers(stack_id)
    failed = []
    for run in instance.get_runs(RunsFilter(statuses=statuses)):
        if not _alive(instance, run, workers):
            instance.report_run_failed(run, MESSAGE)
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            failed.append(run.run_id)
    return failed


def make_pools(instance: DagsterInstance) -> None:
    """Make the pools that are not there yet, with the default limit; those that are keep theirs."""
    storage = instance.event_log_storage
    for name in sorted(every_pool() - storage.get_concurrency_keys()):
        storage.initialize_concurrency_limit_to_default(name)


def _workers(stack_id: str) -> dict[int, float]:
    """Pid and start time of the code server's processes that live: this one and its parents left out, and those that
    only help (the one that runs are forked from, and multiprocessing's tracker)."""
    kin = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = {}
    for process in psutil.process_iter():
        mark = marks(process)
        marked = mark is not None and mark[0] == stack_id and mark[1] == "code-server"
        if marked and process.pid not in kin and not _helps(process):
            found[process.pid] = process.create_time()
    return found


def _helps(process: psutil.Process) -> bool:
    """Whether it is no run's. A run's process, being a fork, has the command line of the one that it is forked from."""
    try:
        words = " ".join(process.cmdline())
        if "multiprocessing.resource_tracker" in words:
            return True
        parent = process.parent()
        return FORKS in words and (parent is None or FORKS not in " ".join(parent.cmdline()))
    except psutil.Error:
        return False


def _alive(instance: DagsterInstance, run: DagsterRun, workers: dict[int, float]) -> bool:
    from dagster import DagsterEventType

    said = False
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        data = entry.dagster_event.engine_event_data if entry.dagster_event else None
        pid = data.metadata.get("pid") if data is not None else None
        if pid is None or not str(pid.value).isdigit():
            continue
        said = True
        started = workers.get(int(str(pid.value)))
        if started is not None and started <= entry.timestamp + CLOCK_SECONDS:
            return True
    return bool(workers) and not said


def main() -> None:
    """Make Dagster's tables and pools where they are missing, and fail the dead runs of this stack."""
    from dagster import DagsterInstance

    from stack.dagster_storage import make_tables

    with DagsterInstance.from_config(str(Path(os.environ["DAGSTER_HOME"]))) as instance:
        make_tables(cast("PostgresRunStorage", instance.run_storage).postgres_url)
        make_pools(instance)
        for run_id in fail_dead_runs(instance, os.environ[STACK]):
            sys.stderr.write(f"run {run_id} failed: its process is gone\n")


if __name__ == "__main__":
    main()
