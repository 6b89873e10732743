"""`darkroom replay-quarantine`: what was quarantined is tried again, by a Dagster job that shows in the UI."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, messages, output, plainly

if TYPE_CHECKING:
    from cli.dagster_api import DagsterApi, Run

JOB = "replay_quarantine"
OP = "replay_quarantined_records"
LOOK_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add `replay-quarantine`."""
    app.command("replay-quarantine")(replay_quarantine)


@plainly
def replay_quarantine(
    reason: Annotated[str | None, typer.Option(help="Only what was quarantined for this reason.")] = None,
    deadline: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the run; it goes on all the same.")
    ] = 600.0,
) -> None:
    """Try quarantined records again, after what turned them away was mended; each image lands once."""
    from cli.dagster_api import DagsterApi
    from resources.failures import PermanentFailure
    from transforms.reasons import Reason

    if reason is not None and reason not in set(Reason):
        raise typer.BadParameter(f"{reason!r} is no reason of quarantine. Valid ones: {', '.join(Reason)}.")
    dagster = DagsterApi(dagster_url(current_home()))
    try:
        with messages().status("replaying quarantine") as spinner:
            run = replay(
                dagster, reason, deadline, lambda run: spinner.update(f"replaying quarantine: {run.status.lower()}")
            )
    finally:
        dagster.close()
    if run.status != "SUCCESS":
        raise PermanentFailure(
            f"Run {run.id} of {JOB} ended as {run.status.lower()}: {run.error or 'it said nothing'}. "
            f"See {dagster.url}/runs/{run.id}, or `darkroom logs code-server`. "
            "No image was lost; run it again when that is mended."
        )
    tried, replayed = run.outputs.get("tried", 0), run.outputs.get("replayed", 0)
    console = output()
    if not tried:
        console.print(f"Nothing is quarantined{f' as {reason}' if reason else ''}; nothing was tried.")
        return
    console.print(
        f"{replayed} of {tried} quarantined records are images now; "
        f"{run.outputs.get('still_quarantined', 0)} stay in quarantine."
    )


def replay(
    dagster: DagsterApi,
    reason: str | None,
    deadline: float,
    progress: Callable[[Run], None] = lambda run: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Start the replay and wait for its end.

    Args:
        dagster: the running Dagster.
        reason: a reason code, or None for all.
        deadline: seconds to wait.
        progress: told of every look.

    Raises:
        DagsterAway: no answer when it was to be started, or the deadline passed.
        DagsterRefused: it would not start.
    """
    config = {"ops": {OP: {"config": {"reason": reason}}}} if reason else {}
    return wait_for(dagster, JOB, dagster.launch(JOB, config), deadline, progress, sleep, clock)


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


def dagster_url(home: Path) -> str:
    """Where the stack's Dagster is.

    Raises:
        StackError: there is no stack in this home.
    """
    from stack.state import load_state

    return f"http://127.0.0.1:{load_state(home).ports['dagster']}"
