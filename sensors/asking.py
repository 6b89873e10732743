"""When a sensor may ask for its job's next run: not while one is in flight, and not right after one that failed."""

from dataclasses import dataclass

import dagster as dg

AFTER_FAILURE_SECONDS = 300.0

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True)
class Turn:
    """Whose turn it is: `run_key` makes one run of each ended one; `wait` says why none is asked for yet."""

    run_key: str
    wait: str | None


def turn(instance: dg.DagsterInstance, job: str, now: float) -> Turn:
    """Look at the newest run of a job.

    Args:
        now: seconds since 1970.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    if not records:
        return Turn("after-none", None)
    last = records[0]
    run = last.dagster_run
    wait = None
    if run.status in UNFINISHED:
        wait = f"run {run.run_id[:8]} is in flight"
    elif run.status is not dg.DagsterRunStatus.SUCCESS:
        seconds = (last.end_time or 0) + AFTER_FAILURE_SECONDS - now
        wait = f"run {run.run_id[:8]} failed; asked for again in {seconds:.0f} s" if seconds > 0 else None
    return Turn(f"after-{run.run_id}", wait)
