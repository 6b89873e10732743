"""`darkroom keys hold|release`: a day, or an uploader, is kept beyond its time, and let go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_settings, given_day, output, plainly
from cli.key_life import Why, life_of, moment_of
from cli.options import IN_AUDIT, Who, Yes, insist_on_why

if TYPE_CHECKING:
    from resources.keys import KeyStore


def register(keys: typer.Typer) -> None:
    """Add the commands to the group `keys`."""
    keys.command("hold")(hold)
    keys.command("release")(release)


@plainly
def hold(
    why: Annotated[str, typer.Option(help="Why; kept with the hold, and shown by every purge.")],
    day: Annotated[str | None, typer.Argument(help="The day, YYYY-MM-DD.")] = None,
    uploader: Annotated[
        str | None, typer.Option(help="In the place of a day: whose images, of each that lives.")
    ] = None,
    who: Who = None,
) -> None:
    """Keep a day, or an uploader, beyond its time: no purge touches it until `keys release`.

    Destroying a day's key still does. Of an uploader it is what came until now: what comes on days to come is held by
    holding again.
    """
    if not why.strip():
        raise typer.BadParameter("--why says nothing, and is kept with the hold: say why it is kept.")
    console, life = output(), life_of(who, why)
    if (chosen := _day_or_uploader(day, uploader)) is not None:
        made = life.hold(chosen)
        console.print(f"{chosen} is held." if made else f"{chosen} was held already; the first hold stands.")
        return
    days = life.hold_uploader(str(uploader), _keys())
    if not days:
        console.print("No living day has a key of that uploader: nothing is held. Names are as the token has them.")
        raise typer.Exit(1)
    console.print(f"Held, of {_days(days)}. What comes on later days is not: hold again for that.", soft_wrap=True)


@plainly
def release(
    day: Annotated[str | None, typer.Argument(help="The day, YYYY-MM-DD.")] = None,
    uploader: Annotated[str | None, typer.Option(help="In the place of a day: the uploader who is held.")] = None,
    yes: Yes = False,
    why: Why = "",
    who: Who = None,
) -> None:
    """Let a held day, or uploader, go: the next purge takes what is over. A dry run unless --yes is given."""
    life, console = life_of(who, why), output()
    if (chosen := _day_or_uploader(day, uploader)) is not None:
        found = [one for one in life.holds().values() if one.day == chosen]
    else:
        found = life.held_of(str(uploader), _keys())
    if not found:
        console.print(f"{chosen or 'That uploader'} is not held.")
        return
    for one in found:
        console.print(f"{one.day} is held since {moment_of(one.since)} by {one.who}: {one.why}")
    if not yes:
        console.print("Released, the next purge takes it, if it is over. To do it: --yes --why TEXT")
        return
    insist_on_why(yes, why, IN_AUDIT)
    if chosen is not None:
        life.release(chosen)
    else:
        life.release_uploader(str(uploader), _keys())
    console.print("Released.")


def _day_or_uploader(day: str | None, uploader: str | None) -> date | None:
    """The day that is meant; None for the uploader."""
    if (day is None) == (uploader is None):
        raise typer.BadParameter("Say what is meant: a day, or --uploader NAME.")
    return None if day is None else given_day(day)


def _keys() -> KeyStore:
    from resources.keys import open_key_store

    return open_key_store(current_settings("operator"))


def _days(days: Sequence[date]) -> str:
    return f"{len(days)} day{'s' if len(days) > 1 else ''}: {', '.join(map(str, days))}"
