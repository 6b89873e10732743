"""`darkroom up`, `down`, `wipe` and `doctor`: a stack's life."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.context import current_home, messages, output, plainly
from cli.options import Yes


def register(app: typer.Typer) -> None:
    """Add `up`, `down`, `wipe` and `doctor`."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("wipe")(wipe)
    app.command("doctor")(doctor)


@plainly
def up(
    only: Annotated[
        list[str] | None, typer.Option(help="Start only this service and what it needs; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=5, help="Seconds that one service may take to become healthy.")] = 180.0,
    lake: Annotated[
        Literal["folder", "s3"] | None,
        typer.Option(
            help="Where the tables of a new stack lie: in a folder, or on an S3 server that starts with it. "
            "A stack keeps what it began with.",
            show_default="folder",
        ),
    ] = None,
    cluster: Annotated[
        bool | None,
        typer.Option(
            "--spark-cluster/--no-spark-cluster",
            help="Whether a Spark cluster (a master, two workers) starts too and does the work on images. "
            "A stack keeps what it was told last.",
            show_default="no",
        ),
    ] = None,
) -> None:
    """Start every server of the stack, in order, each until it is healthy. Harmless when it runs already."""
    from stack.up import start

    start(current_home(), console=messages(), only=tuple(only or ()), timeout=timeout, lake=lake, cluster=cluster)


@plainly
def down() -> None:
    """Stop every process of the stack, in reverse order. Data stays. Harmless when nothing runs."""
    from stack.down import stop

    stop(current_home(), console=messages())


@plainly
def wipe(
    yes: Yes = False,
) -> None:
    """Stop the stack and remove its data, keys and logs. A dry run unless --yes is given."""
    from stack.wipe import wipe as remove

    remove(current_home(), console=messages(), really=yes)


@plainly
def doctor() -> None:
    """Say what this machine lacks for a stack, each in a sentence, with how to get it."""
    from stack.doctor import examine

    findings = examine(current_home())
    console = output()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else "[bold red]missing[/]"
        console.print(f"{mark} [bold]{finding.name}[/]: {finding.sentence}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
