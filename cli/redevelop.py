"""`darkroom redevelop`: images of a range of days are developed anew, by a Dagster job that shows in the UI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.context import current_home, current_settings, messages, output, plainly
from cli.dagster_runs import insist_on_success, run_to_end, running_dagster
from cli.options import Yes
from resources.job_names import BACKFILL_JOB

OP = "days_to_redevelop"
DAY_FORMAT = "%Y-%m-%d"


def register(app: typer.Typer) -> None:
    """Add `redevelop`."""
    app.command("redevelop")(redevelop)


@plainly
def redevelop(
    first: Annotated[datetime, typer.Option("--from", formats=[DAY_FORMAT], help="First day.")],
    last: Annotated[datetime, typer.Option("--to", formats=[DAY_FORMAT], help="Last day.")],
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            help="Go on with one that stopped: rows developed at this instant or later are done. It said which.",
        ),
    ] = None,
    yes: Yes = False,
    deadline: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the run; it goes on all the same.")
    ] = 3600.0,
) -> None:
    """Develop images of these days anew, after a limit, a decoder or the size of thumbnails changed."""
    from resources.backfill import days_held
    from resources.lake import open_lake

    try:
        days = days_held(open_lake(current_settings()), first.date(), last.date())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = output()
    for day, rows in days.items():
        console.print(f"{day}  {rows:,} images")
    if not days:
        console.print(f"No image is of a day from {first:%Y-%m-%d} to {last:%Y-%m-%d}.")
        return
    if not yes:
        console.print("To develop them anew: the same with --yes")
        return
    begun = (since or datetime.now(UTC).replace(microsecond=0)).isoformat()
    config = {"first_day": f"{first:%Y-%m-%d}", "last_day": f"{last:%Y-%m-%d}", "not_before": begun}
    with running_dagster(current_home()) as dagster:
        run = run_to_end(
            dagster, BACKFILL_JOB, {"ops": {OP: {"config": config}}}, deadline, messages(), "developing anew"
        )
        advice = "What was done stands, and nothing is lost; to go on when that is mended, the same with --since "
        insist_on_success(dagster, run, advice + begun)
    console.print(f"Done, and shown in {dagster.url}/runs/{run.id}", soft_wrap=True)
