"""`darkroom erase`: an image, or all of an uploader, before its day is over."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_settings, output, plainly
from cli.options import IN_AUDIT, Who, WhyAudited, Yes, insist_on_why

if TYPE_CHECKING:
    from resources.erasing import Erased


def register(app: typer.Typer) -> None:
    """Add `erase`."""
    app.command("erase")(erase)


@plainly
def erase(
    image: Annotated[str | None, typer.Argument(metavar="[IMAGE_ID]", help="The image's id.")] = None,
    uploader: Annotated[
        str | None, typer.Option(help="In place of an image: all that this name sent through the doors.")
    ] = None,
    yes: Yes = False,
    why: WhyAudited = "",
    who: Who = None,
) -> None:
    """Erase one image, or an uploader of every living day, for good. A dry run unless --yes is given."""
    from resources.erasing import Eraser
    from resources.key_life import KeyLife
    from resources.keys import open_key_store
    from resources.lake import open_lake
    from resources.postgres import ImageStatus

    if (image is None) == (uploader is None):
        raise typer.BadParameter("Say what to erase: an image's id, or --uploader NAME.")
    insist_on_why(yes, why, IN_AUDIT)
    settings, console = current_settings("operator"), output()
    # States are removed by the stack's owner: an operator's login only reads them.
    with ImageStatus(current_settings("admin").postgres_dsn) as status:
        life = KeyLife(settings, who or getpass.getuser(), why.strip())
        eraser = Eraser(open_lake(settings), open_key_store(settings), life, status)
        try:
            if image is not None:
                done = eraser.erase_image(image) if yes else eraser.find_image(image)
            else:
                done = eraser.erase_uploader(str(uploader)) if yes else eraser.find_uploader(str(uploader))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    console.print(("Erased: " if yes else "There is: ") + _told(done), soft_wrap=True)
    if not yes:
        console.print("To erase it for good: the same with --yes --why TEXT", soft_wrap=True)
        return
    last = max(done.days, default=datetime.now(UTC).date()) + timedelta(days=settings.retention_days)
    console.print(f"What is sealed stays in Kafka until {last}, and in files of older versions for a day:", end=" ")
    if image is None:
        console.print(
            f"nobody has its key. Open processes may still have it in memory for {settings.key_cache_seconds:g} s."
        )
    else:
        console.print("its key lives with the other images of that day, and whoever opens images refuses this one.")
    console.print("What was on its way just now may have come in behind it: the same command again takes that, too.")


def _told(done: Erased) -> str:
    parts = [f"{rows:,} in {table}" for table, rows in sorted(done.rows.items())]
    parts += [f"{done.keys} data keys"] if done.keys else []
    parts += [f"{done.states} states"] if done.states else []
    return f"{', '.join(parts) or 'no rows'} ({', '.join(map(str, done.days)) or 'no day'})"
