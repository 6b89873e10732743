"""`darkroom replay-quarantine`: what was quarantined is tried again, by a Dagster job that shows in the UI."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.context import current_home, messages, output, plainly
from cli.dagster_runs import insist_on_success, run_to_end, running_dagster
from resources.job_names import REPLAY_JOB

OP = "replay_quarantined_records"


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
    from transforms.reasons import Reason

    if reason is not None and reason not in set(Reason):
        raise typer.BadParameter(f"{reason!r} is no reason of quarantine. Valid ones: {', '.join(Reason)}.")
    config = {"ops": {OP: {"config": {"reason": reason}}}} if reason else {}
    with running_dagster(current_home()) as dagster:
        run = run_to_end(dagster, REPLAY_JOB, config, deadline, messages(), "replaying quarantine")
        insist_on_success(dagster, run, "No image was lost; run it again when that is mended.")
    tried, replayed = run.outputs.get("tried", 0), run.outputs.get("replayed", 0)
    console = output()
    if not tried:
        console.print(f"Nothing is quarantined{f' as {reason}' if reason else ''}; nothing was tried.")
        return
    console.print(
        f"{replayed} of {tried} quarantined records are images now; "
        f"{run.outputs.get('still_quarantined', 0)} stay in quarantine."
    )
