"""`darkroom people`: who is in the stack's own directory, and in which groups."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer

from access.principal import PERSON_NAME_SAID
from cli.context import current_people, messages, output, plainly

people_commands = typer.Typer(
    no_args_is_help=True,
    help="People and groups of the stack's own directory. A company's directory is kept by the company.",
)
PASSWORD_BYTES = 18


def register(app: typer.Typer) -> None:
    """Add the group `people`."""
    app.add_typer(people_commands, name="people")
    people_commands.command("add")(add)
    people_commands.command("remove")(remove)
    people_commands.command("groups")(groups)
    people_commands.command("list")(listed)


Name = Annotated[str, typer.Argument(help=f"The person's name: {PERSON_NAME_SAID}.")]


@plainly
def add(
    name: Name,
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; may be given several times.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; otherwise one is made.")
    ] = False,
) -> None:
    """Make somebody in these groups; who is there already gets another password, and other groups only if given."""
    given = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(PASSWORD_BYTES)
    people = current_people()
    new = people.put(name, group or None, given)
    of = ", ".join(people.everyone()[name]) or "no group"
    output().print(f"{name} is {'new' if new else 'kept, with a new password'}, in {of}.")
    if not password_stdin:
        # On standard error, so that the output may be kept: it is shown this once.
        messages().print(f"password: {given}", soft_wrap=True, markup=False, highlight=False)


@plainly
def groups(
    name: Name,
    group: Annotated[list[str] | None, typer.Option(help="A group to be in; none at all takes every one away.")] = None,
) -> None:
    """Put somebody into exactly these groups; a right that goes with them is gone within a minute."""
    current_people().put(name, group or [], None)
    output().print(f"{name} is in {', '.join(group or []) or 'no group'} now.")


@plainly
def remove(name: Name) -> None:
    """Take somebody out of every group and out of the directory."""
    output().print(f"{name} is gone." if current_people().remove(name) else f"There is nobody named {name}.")


@plainly
def listed() -> None:
    """Everybody, and the groups there are."""
    from rich.table import Table

    people = current_people()
    shown = Table("person", "groups", box=None)
    for name, of in people.everyone().items():
        shown.add_row(name, ", ".join(of) or "none")
    console = output()
    console.print(shown)
    there = ", ".join(f"{name} ({count})" for name, count in people.groups().items())
    console.print(f"Groups: {there}", soft_wrap=True)
