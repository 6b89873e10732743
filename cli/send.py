"""`darkroom send`: your own files and folders, or the demo's images, to the stack's doors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, current_settings, messages, output, plainly
from cli.options import UPLOADER

if TYPE_CHECKING:
    from cli.ways import Item


class Via(StrEnum):
    """The door that images go through."""

    STREAM = "stream"
    UPLOAD = "upload"


def register(app: typer.Typer) -> None:
    """Add `send`."""
    app.command("send")(send)


@plainly
def send(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, and folders with all that is in them.")] = None,
    digits: Annotated[bool, typer.Option("--digits", help="Send scikit-learn's 1,797 handwritten digits.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Send scikit-learn's two sample photographs.")] = False,
    label: Annotated[str | None, typer.Option(help="Label of every file of PATHS.")] = None,
    label_from_folder: Annotated[
        bool, typer.Option("--label-from-folder", help="A file's label is the name of its folder below PATH.")
    ] = False,
    subject: Annotated[str, typer.Option(help="Who sends: the subject of the token.")] = UPLOADER,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many images a second.")] = None,
    via: Annotated[Via, typer.Option(help="All over one WebSocket, or one HTTPS request each.")] = Via.STREAM,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Images under way at a time (default: 32 by stream, 8 by upload)."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Give up after so many seconds in which no door took anything.")
    ] = 120.0,
) -> None:
    """Send images, each until the broker has acknowledged it; what was acknowledged before is skipped.

    Exit code 0: everything is acknowledged, now or before. 1: some files were refused or could not be read, or the
    doors stayed away; the same command again goes on where this one ended.
    """
    if not (paths or digits or sample):
        raise typer.BadParameter("nothing to send: name files or folders, or give --digits or --sample.")

    from cli.dataset import digits as all_digits
    from cli.dataset import photographs
    from cli.gather import gather
    from cli.sending import print_unsent, send_items

    settings = current_settings()
    items: list[Item] = [*gather(paths or [], label, label_from_folder)]
    items += all_digits() if digits else []
    items += photographs() if sample else []
    summary = send_items(
        current_home(),
        items,
        uploader=subject,
        largest=settings.max_image_bytes,
        via=via,
        concurrency=concurrency,
        rate=rate,
        patience_seconds=patience,
        console=messages(),
    )
    console = output()
    print_unsent(summary, console)
    resent = f", {summary.resends} tries more than images" if summary.resends else ""
    console.print(f"{summary.sentence()}; {len(items)} in {summary.seconds:.1f} s{resent}.", soft_wrap=True)
    if summary.failed:
        raise typer.Exit(1)
