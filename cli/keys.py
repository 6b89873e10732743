"""`darkroom keys`: the customer's keys, looked at, rotated, switched off and on, held, and destroyed.

Each deed is in HOME/logs/audit.log before it is done.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import key_destroying, key_holds
from cli.context import current_settings, output, plainly
from cli.key_life import Why, life_of, moment_of, rows_of
from cli.options import Who

key_commands = typer.Typer(no_args_is_help=True, help="The customer's keys: look, rotate, switch off and on, destroy.")


def register(app: typer.Typer) -> None:
    """Add the group `keys`."""
    app.add_typer(key_commands, name="keys")
    key_commands.command("status")(status)
    key_commands.command("rotate")(rotate)
    key_commands.command("disable")(disable)
    key_commands.command("enable")(enable)
    key_holds.register(key_commands)
    key_destroying.register(key_commands)


@plainly
def status() -> None:
    """The customer-managed key, every day's key, and the rows that hang on it."""
    from rich.table import Table

    from resources.lake import open_lake

    life, console = life_of(None, ""), output()
    customer = life.customer()
    told = f"Customer-managed key {customer.id}: {customer.state}"
    if customer.until is not None:
        told += f", {'ended' if customer.state == 'destroyed' else 'ends'} {moment_of(customer.until)}"
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
        state = "living" if dead is None else f"destroyed {moment_of(dead.when)} by {dead.who}"
        state += f", held by {held[one.day].who}" if one.day in held else ""
        if said := {hold.who for hold in people if hold.day == one.day}:
            state += f", some uploaders held by {', '.join(sorted(said))}"
        shown.add_row(str(one.day), state, rows_of(one))
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

    life = life_of(who, why, tuple(former or ()))
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
    life, seconds = life_of(who, why), current_settings().key_cache_seconds
    customer = life.disable()
    output().print(
        f"Customer-managed key {customer.id}: {customer.state}. Open processes stop within {seconds:g} s: doors answer "
        "503, developing waits. `darkroom keys enable` undoes it.",
        soft_wrap=True,
    )


@plainly
def enable(why: Why = "", who: Who = None) -> None:
    """Switch everything on again, or take a deletion back that is pending."""
    customer = life_of(who, why).enable()
    output().print(f"Customer-managed key {customer.id}: {customer.state}. What waited goes on by itself.")
