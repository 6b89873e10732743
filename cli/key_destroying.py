"""`darkroom keys destroy|destroy-all`: what cannot be undone, and is a dry run until its object is named twice."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.context import current_settings, given_day, output, plainly
from cli.key_life import Why, life_of, moment_of, rows_of
from cli.options import IN_AUDIT, Who, insist_on_why

ALL = "ALL"


def register(keys: typer.Typer) -> None:
    """Add the commands to the group `keys`."""
    keys.command("destroy")(destroy)
    keys.command("destroy-all")(destroy_all)


@plainly
def destroy(
    day: Annotated[str, typer.Argument(help="The day, YYYY-MM-DD.")],
    yes_destroy: Annotated[
        str | None, typer.Option("--yes-destroy", metavar="DAY", help="Do it: the same day once more.")
    ] = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Make a day's images dark for good, in every copy there is. A dry run unless --yes-destroy DAY is given."""
    from resources.lake import open_lake

    chosen = given_day(day)
    _insist(yes_destroy, chosen.isoformat(), why)
    life, console, settings = life_of(who, why), output(), current_settings()
    found = next((one for one in life.days(open_lake(settings)) if one.day == chosen), None)
    console.print(f"{chosen}: " + ("it has no key yet, and would take none." if found is None else rows_of(found)))
    held = sum(one.day == chosen for one in life.held_keys())
    if held:
        console.print(f"{held} keys of uploaders that are held would be destroyed with it.")
    if found is not None and (dead := found.tombstone) is not None:
        but = ", but those held" if held else ""
        console.print(f"Destroyed already, {moment_of(dead.when)} by {dead.who}{but}.")
        if not held:
            return
    if yes_destroy is None:
        console.print(
            f"They would be unreadable for everybody and for good. To do it: --yes-destroy {chosen} --why TEXT"
        )
        return
    # Those held first: stopped in between, the day is still there to be destroyed by the same command.
    life.destroy_held(chosen)
    life.destroy_day(chosen)
    console.print(
        f"Destroyed. Open processes may still have it in memory for {settings.key_cache_seconds:g} s; the rows go with "
        "the purge of their day.",
        soft_wrap=True,
    )


@plainly
def destroy_all(
    days: Annotated[
        int | None,
        typer.Option(min=0, max=30, help="Days until then; 7 unless given. 0: at once, where the key can do that."),
    ] = None,
    yes_destroy: Annotated[
        str | None, typer.Option("--yes-destroy", metavar=ALL, help=f"Do it: the word {ALL}.")
    ] = None,
    why: Why = "",
    who: Who = None,
) -> None:
    """Have the customer-managed key deleted: then every image is dark. A dry run unless --yes-destroy ALL is given."""
    from resources.key_provider import WINDOW_DAYS
    from resources.lake import open_lake

    _insist(yes_destroy, ALL, why)
    window = WINDOW_DAYS if days is None else days
    life, console = life_of(who, why), output()
    living = [one for one in life.days(open_lake(current_settings())) if one.tombstone is None]
    for one in living:
        console.print(f"{one.day}: {rows_of(one)}")
    customer = life.customer()
    if yes_destroy is None:
        when = "at once" if window == 0 else f"in {window} days"
        console.print(
            f"Customer-managed key {customer.id} ({customer.state}): deleted, all of this would be unreadable {when}, "
            f"and nothing more would be taken from now on. To do it: --yes-destroy {ALL} --why TEXT",
            soft_wrap=True,
        )
        return
    customer = life.destroy_all(window)
    told = f"Customer-managed key {customer.id}: {customer.state}"
    if customer.until is not None:
        told += f", {moment_of(customer.until)}"
    ended = customer.state == "destroyed"
    console.print(f"{told}." + ("" if ended else " `darkroom keys enable` takes it back until then."), soft_wrap=True)


def _insist(given: str | None, wanted: str, why: str) -> None:
    if given is not None and given != wanted:
        raise typer.BadParameter(f"--yes-destroy {given!r} is not what is to be destroyed: say --yes-destroy {wanted}.")
    insist_on_why(given is not None, why, IN_AUDIT, "--yes-destroy")
