"""Starting a job of the running Dagster and waiting for its end, with a line that says how it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.failures import PermanentFailure

if TYPE_CHECKING:
    from rich.console import Console

    from cli.dagster_api import DagsterApi, Run

LOOK_SECONDS = 1.0


@contextmanager
def running_dagster(home: Path) -> Iterator[DagsterApi]:
    """The stack's Dagster. Raises StackError where there is no stack in this home."""
    dagster = dagster_of(home)
    try:
        yield dagster
    finally:
        dagster.close()


def run_to_end(
    dagster: DagsterApi, job: str, config: Mapping[str, Any], deadline: float, console: Console, doing: str
) -> Run:
    """Start a job and wait for its end, however it ends.

    Args:
        config: the run's configuration.
        deadline: seconds to wait.
        console: where the line stands while it runs.
        doing: what the run does, as in "developing anew".

    Raises:
        DagsterAway: no answer when it was to be started, or the deadline passed; the run goes on.
        DagsterRefused: it would not start.
    """
    with console.status(doing) as spinner:
        return wait_for(
            dagster,
            job,
            dagster.launch(job, config),
            deadline,
            lambda run: spinner.update(f"{doing}: {run.status.lower()}"),
        )


def insist_on_success(dagster: DagsterApi, run: Run, advice: str) -> None:
    """Raise PermanentFailure with the run's first error, where to see it, and advice, unless it succeeded."""
    if run.status != "SUCCESS":
        raise PermanentFailure(
            f"Run {run.id} of {run.job} ended as {run.status.lower()}: {run.error or 'it said nothing'}. "
            f"See {dagster.url}/runs/{run.id}, or `darkroom logs code-server`. {advice}"
        )


def wait_for(
    dagster: DagsterApi,
    job: str,
    id: str,
    deadline: float,
    progress: Callable[[Run], None] = lambda run: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Wait for a run's end, also while Dagster's web server is away.

    Raises:
        DagsterAway: the deadline passed; the run goes on.
    """
    from cli.dagster_api import DagsterAway

    start = clock()
    trouble = ""
    while True:
        try:
            run = dagster.run(id)
            progress(run)
            trouble = f"it is {run.status.lower()}"
            if run.finished:
                return run
        except DagsterAway as error:
            # The run lives in its own process: a web server that restarts does not end it.
            trouble = str(error)
        if clock() - start > deadline:
            raise DagsterAway(
                f"Run {id} of {job} is not at its end after {deadline:g} s ({trouble}). It goes on; "
                f"{dagster.url}/runs/{id} shows it."
            )
        sleep(LOOK_SECONDS)


def dagster_of(home: Path) -> DagsterApi:
    """The stack's Dagster by its gateway, asked as the stack's owner.

    Raises:
        StackError: there is no stack in this home, or no gateway in it yet.
    """
    from cli.dagster_api import DagsterApi
    from stack.signing import owner_client
    from stack.webserver import PREFIX

    client = owner_client(home, timeout_seconds=20.0)
    return DagsterApi(str(client.base_url).rstrip("/") + PREFIX, client)
