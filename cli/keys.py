"""`darkroom keys`: the customer's keys, looked at, rotated, switched off and on, held, and destroyed.

What cannot be undone is a dry run until its object is named twice. Each deed is in HOME/logs/audit.log before it is
done.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_settings, given_day, output, plainly

if TYPE_CHECKING:
    from resources.key_life import DayOfKeys, KeyLife
    from resources.keys import KeyStore

key_commands = typer.Typer(no_args_is_help=True, help="The customer's keys: look, rotate, switch off and on, destroy.")
ALL = "ALL"

Why = Annotated[str, typer.Option(help="Why; kept in the audit log.")]
Who = Annotated[str | None, typer.Option(help="Who does it; this account's name unless given.")]


def register(app: typer.Typer) -> None:
    """Add the group `keys`."""
    app.add_typer(key_commands, name="keys")
    key_commands.command("status")(status)
    key_commands.command("rotate")(rotate)
    key_commands.command("disable")(disable)
    key_commands.command("enable")(enable)
    key_commands.command("hold")(hold)
    key_commands.command("release")(release)
    key_commands.command("destroy")(destroy)
    key_commands.command("destroy-all")(destroy_all)


@plainly
def status() -> None:
    """The customer-managed key, every day's key, and the rows that hang on it."""
    from rich.table import Table

    from resources.lake import open_lake

    life, console = _life(None, ""), output()
    customer = life.customer()
    told = f"Customer-managed key {customer.id}: {customer.state}"
    if customer.until is not None:
        told += f", {'ended' if customer.state == 'destroyed' else 'ends'} {_at(customer.until)}"
    if customer.older:
        told += f"; a rotation is not finished: {', '.join(customer.older)} unwraps still (`darkroom keys rotate`)"
    console.print(told, soft_wrap=True)
    days = life.days(open_lake(current_settings()))
    if not days:
        console.print("No day has a key yet.")
        return
    held, people = life.holds(), life.held_keys()
    shown = Table("day", "key", "rows that hang on it", box=None)
    for one in days:
        dead = one.tombstone
        state = "living" if dead is None else f"destroyed {_at(dead.when)} by {dead.who}"
        state += f", held by {held[one.day].who}" if one.day in held else ""
        if said := {hold.who for hold in people if hold.day == one.day}:
            state += f", some uploaders held by {', '.join(sorted(said))}"
        shown.add_row(str(one.day), state, _told(one))
    console.print(shown)


@plainly
def rotate(
    why: Why = "",
    who: Who = None,
    former: Annotated[
        list[str] | None,
        typer.Option("--from", help="Of AWS KMS: ARN or id of the key that the configured one takes the place of."),
    ] = None,
) -> None:
    """Wrap every day's key under a new customer-managed key; no image is touched. Stopped, run it again."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from cli.context import messages

    life = _life(who, why, tuple(former or ()))
    count = 0
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), console=messages(), transient=True
    ) as progress:
        task = progress.add_task("keys wrapped anew", total=None)
        for _ in life.rotate():
            count += 1
            progress.update(task, completed=count)
    output().print(
        f"Wrapped anew under {life.customer().id}: {count} keys. Nothing hangs on a former key any more.",
        soft_wrap=True,
    )


@plainly
def disable(why: Why = "", who: Who = None) -> None:
    """Switch everything off: no image is opened or taken until `keys enable`. Nothing is lost."""
    life, seconds = _life(who, why), current_settings().key_cache_seconds
    customer = life.disable()
    output().print(
        f"Customer-managed key {customer.id}: {customer.state}. Open processes stop within {seconds:g} s: doors answer "
        "503, developing waits. `darkroom keys enable` undoes it.",
        soft_wrap=True,
    )


@plainly
def enable(why: Why = "", who: Who = None) -> None:
    """Switch everything on again, or take a deletion back that is pending."""
    customer = _life(who, why).enable()
    output().print(f"Customer-managed key {customer.id}: {customer.state}. What waited goes on by itself.")


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
    console, life = output(), _life(who, why)
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
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what it would do.")] = False,
    why: Why = "",
    who: Who = None,
) -> None:
    """Let a held day, or uploader, go: the next purge takes what is over. A dry run unless --yes is given."""
    life, console = _life(who, why), output()
    if (chosen := _day_or_uploader(day, uploader)) is not None:
        found = [one for one in life.holds().values() if one.day == chosen]
    else:
        found = life.held_of(str(uploader), _keys())
    if not found:
        console.print(f"{chosen or 'That uploader'} is not held.")
        return
    for one in found:
        console.print(f"{one.day} is held since {_at(one.since)} by {one.who}: {one.why}")
    if not yes:
        console.print("Released, the next purge takes it, if it is over. To do it: --yes --why TEXT")
        return
    if not why.strip():
        raise typer.BadParameter("--yes needs --why TEXT: it is kept in the audit log.")
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
    life, console, settings = _life(who, why), output(), current_settings()
    found = next((one for one in life.days(open_lake(settings)) if one.day == chosen), None)
    console.print(f"{chosen}: " + ("it has no key yet, and would take none." if found is None else _told(found)))
    held = sum(one.day == chosen for one in life.held_keys())
    if held:
        console.print(f"{held} keys of uploaders that are held would be destroyed with it.")
    if found is not None and (dead := found.tombstone) is not None:
        console.print(f"Destroyed already, {_at(dead.when)} by {dead.who}" + (", but those held." if held else "."))
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
    life, console = _life(who, why), output()
    living = [one for one in life.days(open_lake(current_settings())) if one.tombstone is None]
    for one in living:
        console.print(f"{one.day}: {_told(one)}")
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
        told += f", {_at(customer.until)}"
    ended = customer.state == "destroyed"
    console.print(f"{told}." + ("" if ended else " `darkroom keys enable` takes it back until then."), soft_wrap=True)


def _life(who: str | None, why: str, former: tuple[str, ...] = ()) -> KeyLife:
    from resources.key_life import KeyLife

    return KeyLife(current_settings("operator"), who or getpass.getuser(), why.strip(), older=former)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _told(one: DayOfKeys) -> str:
    counts = [f"{rows:,} in {table}" for table, rows in sorted(one.rows.items()) if rows]
    return ", ".join(counts) or "no rows"


def _insist(given: str | None, wanted: str, why: str) -> None:
    if given is not None and given != wanted:
        raise typer.BadParameter(f"--yes-destroy {given!r} is not what is to be destroyed: say --yes-destroy {wanted}.")
    if given is not None and not why.strip():
        raise typer.BadParameter("--yes-destroy needs --why TEXT: it is kept in the audit log.")
