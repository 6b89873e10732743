"""`darkroom access`: what the one policy gives to whom, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.context import current_home, current_people, current_settings, messages, output, plainly
from cli.options import Yes

if TYPE_CHECKING:
    from access.explain import Grant
    from access.policy import Policy

access_commands = typer.Typer(
    no_args_is_help=True,
    help="The one policy: who may do what, and why (show, explain); and what differs from it where it is enforced "
    "(plan), to be put right (apply).",
)


def register(app: typer.Typer) -> None:
    """Add the group `access`."""
    app.add_typer(access_commands, name="access")
    access_commands.command("show")(show)
    access_commands.command("explain")(explain)
    access_commands.command("plan")(plan)
    access_commands.command("files")(files)
    access_commands.command("schema")(schema)
    access_commands.command("apply")(apply)


@plainly
def show(
    name: Annotated[str | None, typer.Argument(help="An identity or a group; every one unless given.")] = None,
) -> None:
    """Show what the policy gives to each group of people and to each service."""
    from rich.table import Table

    from access.explain import EVERYONE
    from access.policy import load_policy

    policy = load_policy()
    holders = [EVERYONE, *policy.groups, *policy.identities] if name is None else [_holder(policy, name)]
    given = _grants(policy)
    table = Table("who", "where", "what", "may", box=None)
    for holder in holders:
        lines = list(_folded(_lines(grant for grant in given if grant.holder == holder)))
        for point, what, verbs in lines or [("", "nothing", "")]:
            table.add_row(holder, point, what, verbs)
    console = output()
    console.print(table)
    if name is not None:
        console.print((policy.groups.get(name) or policy.identities[name]).note, soft_wrap=True, markup=False)


@plainly
def explain(
    who: Annotated[str, typer.Argument(help="A person of the stack's directory, a group or an identity.")],
    what: Annotated[
        str,
        typer.Argument(help="A topic, a consumer group, schema.table, schema.function(types), a path or a mutation."),
    ],
) -> None:
    """Say what somebody may do with something, and which line of the policy says so."""
    from access.explain import about
    from access.policy import PolicyError, load_policy
    from stack.errors import StackError

    policy = load_policy()
    try:
        possible = about(_grants(policy), what)
    except PolicyError as error:
        raise StackError(str(error)) from None
    person, holders = _holders(policy, who)
    console = output()
    held = [grant for grant in possible if grant.holder in holders]
    for holder in holders:
        for point, of, verbs in _lines(grant for grant in held if grant.holder == holder):
            through = f", of which {who} is a member" if person and holder in policy.groups else ""
            where = _place(policy, holder)
            console.print(
                f"By the policy {who} may {verbs} on {of} ({point}): {where}{through}.", soft_wrap=True, markup=False
            )
    if not held:
        console.print(f"By the policy {who} may do nothing with {what}.", soft_wrap=True, markup=False)
        if person:
            groups = [one for one in holders if one in policy.groups]
            console.print(
                f"Of the policy's groups {who} is in: {', '.join(groups) or 'none'}.",
                soft_wrap=True,
            )
        may = ", ".join(sorted({grant.holder for grant in possible}))
        console.print(f"Who may: {may}.", soft_wrap=True, markup=False)


@plainly
def plan(
    check: Annotated[bool, typer.Option("--check", help="End with code 1 where anything differs or is away.")] = False,
) -> None:
    """Say what differs from the policy and the directory, at every point where it is enforced. Changes nothing."""
    if _plan() and check:
        raise typer.Exit(1)


@plainly
def apply(
    yes: Yes = False,
) -> None:
    """Make what stands the policy's and the directory's, point by point in a safe order. A dry run by default."""
    from stack.access import apply as put_right

    console = output()
    if not yes:
        if _plan():
            console.print("Nothing was changed. Do it with --yes.")
        return
    done = 0
    for told in put_right(current_home(), messages()):
        console.print(f"put right, {told.point}: {told.sentence}", soft_wrap=True, markup=False)
        done += 1
    console.print(f"{done} differences are put right." if done else "Nothing differed.")


@plainly
def files(
    folder: Annotated[Path, typer.Argument(help="Where to write; deploy/ of the source tree has them.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with code 1 where a file there says something else.")
    ] = False,
) -> None:
    """Write the policy as files for clouds: IAM policies, Confluent's rules and role bindings, SCIM groups."""
    from access.cloud_files import cloud_files
    from access.policy import load_policy
    from resources.settings import load_settings
    from resources.topics import topic_settings

    console, differing = output(), []
    for name, text in cloud_files(load_policy(), topic_settings(load_settings())).items():
        path = folder / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        console.print(f"{'differs' if check else 'written'}: {path}", soft_wrap=True, markup=False)
    if not differing:
        console.print(f"Every file in {folder} is as the policy says.", soft_wrap=True, markup=False)
    elif check:
        raise typer.Exit(1)


def schema() -> None:
    """Print what policy.yaml may say, as a JSON schema."""
    from access.cloud_files import policy_schema

    typer.echo(policy_schema(), nl=False)


def _plan() -> bool:
    """Print what differs; whether anything does, or is away."""
    from stack.access import compare

    console, found = output(), False
    for point, differences in compare(current_home()):
        if not differences:
            console.print(f"[green]ok[/] {point}: as the policy says")
        for told in differences:
            found = True
            mark = "[red]away[/]" if told.away else "[yellow]differs[/]"
            console.print(f"{mark} {point}: {escape(told.sentence)}", soft_wrap=True)
    return found


def _grants(policy: Policy) -> list[Grant]:
    from access.explain import grants
    from resources.topics import topic_settings

    return grants(policy, topic_settings(current_settings()))


def _lines(given: Iterable[Grant]) -> Iterator[tuple[str, str, str]]:
    """Where, what, and the verbs together, a line an object."""

    def place(grant: Grant) -> tuple[str, str]:
        return grant.point, grant.object

    for (point, what), of in groupby(sorted(given, key=place), key=place):
        yield point, what, ", ".join(sorted({grant.verb for grant in of}))


def _place(policy: Policy, holder: str) -> str:
    from access.explain import EVERYONE

    if holder == EVERYONE:
        return "a route of the policy for everyone"
    return f"{'groups' if holder in policy.groups else 'identities'}.{holder} of the policy"


def _folded(lines: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """The lines, Dagster's many mutations as one."""
    mutations = []
    for point, what, verbs in lines:
        if point == "dagster":
            mutations.append(what.removeprefix("mutation "))
        else:
            yield point, what, verbs
    if mutations:
        yield "dagster", f"see its pages; mutations {', '.join(mutations)}", "call"


def _holder(policy: Policy, name: str) -> str:
    from stack.errors import StackError

    if name not in policy.groups and name not in policy.identities:
        groups, identities = ", ".join(policy.groups), ", ".join(policy.identities)
        raise StackError(f"{name} is in no line of the policy. Groups: {groups}. Identities: {identities}.")
    return name


def _holders(policy: Policy, who: str) -> tuple[bool, Sequence[str]]:
    """Whether this is a person, and whose lines of the policy count for them."""
    from access.explain import EVERYONE
    from stack.errors import StackError

    if who in policy.groups or who in policy.identities:
        return False, [who, EVERYONE]
    everyone = current_people().everyone()
    if who not in everyone:
        there = f"People of the directory: {', '.join(everyone)}. " if everyone else "The directory has nobody yet. "
        raise StackError(
            f"{who} is no person of the stack's directory and in no line of the policy. {there}"
            f"Groups: {', '.join(policy.groups)}. Identities: {', '.join(policy.identities)}."
        )
    # A group of the directory may have the name of a service, and gives none of its rights.
    return True, [*(group for group in everyone[who] if group in policy.groups), EVERYONE]
