"""Runs whose process is gone are failed; those whose process lives are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry, job, op
from dagster._core.events import EngineEventData

from resources.pools import every_pool
from stack.dead_runs import fail_dead_runs, make_pools
from stack.processes import SERVICE, STACK

STACK_ID = "feedfacefeedface"


@op
def nothing() -> None:
    """Does nothing."""


@job
def a_job() -> None:
    """One op."""
    nothing()


@pytest.fixture
def instance(tmp_path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as one:
        yield one


@pytest.fixture
def worker() -> Iterator[int]:
    """The pid of a living process that carries this stack's mark, as a run's worker does."""
    environment = {**os.environ, STACK: STACK_ID, SERVICE: "code-server"}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], env=environment)
    time.sleep(0.2)  # until the new environment is the process's own
    yield process.pid
    process.kill()
    process.wait()


def run_of(instance: DagsterInstance, status: DagsterRunStatus, pid: int | None) -> str:
    """A run that Dagster believes to be at work; with the event in which its worker said its pid."""
    run = instance.create_run_for_job(a_job, status=status)
    if pid is not None:
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return run.run_id


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.mark.parametrize(
    "status",
    [
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ],
)
def test_a_run_whose_process_is_gone_fails_with_a_sentence(instance: DagsterInstance, status: DagsterRunStatus):
    run_id = run_of(instance, status, pid=2**22 - 1)
    assert fail_dead_runs(instance, STACK_ID) == [run_id]
    assert status_of(instance, run_id) == DagsterRunStatus.FAILURE
    last: DagsterEvent | None = instance.all_logs(run_id)[-1].dagster_event
    assert last is not None
    assert last.message is not None
    assert "The process of this run is gone" in last.message


def test_a_run_whose_worker_lives_is_left_alone(instance: DagsterInstance, worker: int):
    run_id = run_of(instance, DagsterRunStatus.STARTED, worker)
    assert fail_dead_runs(instance, STACK_ID) == []
    assert status_of(instance, run_id) == DagsterRunStatus.STARTED


def test_a_pid_that_another_stacks_process_has_now_does_not_keep_a_run_alive(instance: DagsterInstance, worker: int):
    run_id = run_of(instance, DagsterRunStatus.STARTED, worker)
    assert fail_dead_runs(instance, "another stack") == [run_id]


def test_a_process_that_is_younger_than_the_word_of_its_pid_is_another(instance: DagsterInstance, worker: int):
    """Bug prevented: a pid given away again to a later worker keeps a dead run STARTED, in the way of all others."""
    run = instance.create_run_for_job(a_job, status=DagsterRunStatus.STARTED)
    said = EngineEventData.in_process(worker)
    event = DagsterEvent(DagsterEventType.ENGINE_EVENT.value, "a_job", message="Started", event_specific_data=said)
    instance.handle_new_event(EventLogEntry(None, 20, "", run.run_id, timestamp=time.time() - 60, dagster_event=event))
    assert fail_dead_runs(instance, STACK_ID) == [run.run_id]


def test_a_run_that_ended_is_no_business_of_ours(instance: DagsterInstance):
    run_id = run_of(instance, DagsterRunStatus.SUCCESS, pid=2**22 - 1)
    assert fail_dead_runs(instance, STACK_ID) == []
    assert status_of(instance, run_id) == DagsterRunStatus.SUCCESS


def test_pools_are_made_once_and_one_that_is_there_keeps_its_limit(tmp_path):
    limited = {"concurrency": {"pools": {"default_limit": 1}}}
    with DagsterInstance.local_temp(str(tmp_path), overrides=limited) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("images/raw_images", 3)
        for _ in range(2):
            make_pools(instance)
            assert storage.get_concurrency_keys() == every_pool()
    limits = {one.name: one.limit for one in storage.get_pool_limits()}
    assert limits.pop("images/raw_images") == 3
    assert set(limits.values()) == {1}
