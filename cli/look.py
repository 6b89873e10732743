"""`darkroom status` and `logs`: looking at a stack without touching it."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from cli.context import current_home, output, plainly


def register(app: typer.Typer) -> None:
    """Add `status` and `logs`."""
    app.command("status")(status)
    app.command("logs")(logs)


@plainly
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that a client needs, as JSON.")] = False,
) -> None:
    """Say how each service is, and where. Exit code 1 when one is not running (with --json: 0, the state says it)."""
    from stack.status import describe

    report = describe(current_home())
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    _print(report)
    if any(service["state"] != "running" for service in report["services"].values()):
        raise typer.Exit(1)


def _print(report: dict) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "pid", "where"):
        table.add_column(column, overflow="fold")
    for name, service in report["services"].items():
        colour = {"running": "green", "stopped": "dim"}.get(service["state"], "bold red")
        table.add_row(
            name,
            f"[{colour}]{service['state']}[/]",
            str(service["pid"] or "-"),
            service["url"] or "-",
        )
    output().print(table)


@plainly
def logs(
    name: Annotated[str, typer.Argument(help="A service, as `darkroom status` lists them; or `supervisor`.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", min=0, help="How many of the last lines to show.")] = 100,
) -> None:
    """Show a service's log."""
    from stack.status import log_of

    path = log_of(current_home(), name)
    # tail follows a log through its rotation, which is all there is to it.
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", str(path)])  # noqa: S606
