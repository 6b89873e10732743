"""`darkroom shop`: rows in, people in and out, and who may do what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import shop_items
from cli.context import current_home, current_settings, messages, output, plainly
from cli.options import Yes

if TYPE_CHECKING:
    from resources.shop_load import Loaded
    from transforms.shop_rows import Fault, Row

shop_commands = typer.Typer(no_args_is_help=True, help="The shop: items that keep every version, members, sales.")


def register(app: typer.Typer) -> None:
    """Add the group `shop`."""
    app.add_typer(shop_commands, name="shop")
    shop_commands.command("load")(load_folder)
    shop_commands.command("demo-data")(demo_data)
    shop_commands.command("rights")(rights)
    shop_commands.command("whoami")(whoami)
    shop_commands.command("person")(person)
    shop_commands.command("people")(people)
    shop_items.register(shop_commands)


@plainly
def load_folder(
    folder: Annotated[Path, typer.Argument(help="Holds items.csv, members.csv, sales.csv, sales_details.csv.")],
) -> None:
    """Add the rows of CSV files, all or nothing; a second load changes nothing. docs/shop.md has the columns."""
    from resources.shop_folder import read_folder

    _show(_load(read_folder(folder)))


@plainly
def demo_data() -> None:
    """Load a made-up shop: 200 members, 500 items and what became of them, 20,000 sales over two years."""
    from transforms.shop_demo import demo_shop

    _show(_load(demo_shop()))


@plainly
def rights() -> None:
    """Show who may do what in the shop, as it stands in the database, and where that differs from the policy."""
    from rich.table import Table

    from access.policy import load_policy
    from resources.postgres_differences import differences
    from resources.postgres_roles import PostgresRoles
    from resources.rights_matrix import matrix

    policy = load_policy()
    standing = PostgresRoles(current_settings().postgres_dsn, policy).standing()
    held = matrix(standing, "shop")
    objects = sorted({name for row in held.values() for name in row})
    table = Table("role", *(name.removeprefix("shop.") for name in objects), show_lines=True)
    for role, row in held.items():
        table.add_row(role, *(", ".join(row.get(name, ())) for name in objects))
    console = output()
    console.print(table)
    for name, groups in standing.people(list(policy.database_groups), list(policy.identities)).items():
        console.print(f"{name} is in {', '.join(groups)}", markup=False)
    drift = [change.sentence for change in differences(policy, standing)]
    for sentence in drift:
        console.print(f"[bold red]drift[/] {sentence}", soft_wrap=True)
    if drift:
        messages().print("`darkroom up` puts rights to what the policy says.")
        raise typer.Exit(1)
    console.print("All of it is as the policy says.")


@plainly
def whoami(
    name: Annotated[str | None, typer.Option("--person", help="As this person; the operator unless given.")] = None,
) -> None:
    """Say as whom the shop's database knows you, which groups you have, and what you may do."""
    from access.policy import load_policy
    from resources.rights_matrix import who_am_i
    from stack.people import person_dsn

    dsn = current_settings().postgres_dsn if name is None else person_dsn(current_home(), name)
    found = who_am_i(dsn, sorted(load_policy().database_groups))
    console = output()
    console.print(f"login   {found.login}", markup=False)
    console.print(f"groups  {', '.join(found.groups) or 'none'}", markup=False)
    for table, verbs in found.rights.items():
        console.print(f"{table}: {', '.join(verbs)}", markup=False)


@plainly
def person(
    name: Annotated[str, typer.Argument(help="Name of the login.")],
    group: Annotated[
        list[str] | None,
        typer.Option(help="logistics, analytics or sales; may be repeated. They replace earlier ones."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the login and its password.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --remove: do it. Without this, only say what would go.")
    ] = False,
) -> None:
    """Make a login for a person that inherits groups, and print a connection string that works as it stands."""
    from stack.people import end_person, make_person

    if bool(group) == remove:
        raise typer.BadParameter("Give --group GROUP to make or change a login, or --remove to remove it.")
    home = current_home()
    if not remove:
        output().print(make_person(home, name, group or ()), soft_wrap=True, markup=False)
    elif not yes:
        output().print(f"Would remove the login {name} and its password. Do it with --yes.", markup=False)
    else:
        gone = end_person(home, name)
        output().print(f"{name} is removed." if gone else f"There was no login {name}.", markup=False)


@plainly
def people(
    yes: Yes = False,
) -> None:
    """Make the database's logins what the directory says: who joined, moved and left. A dry run by default."""
    from stack.people import plan_people, sync_people

    home, console = current_home(), output()
    plan = sync_people(home) if yes else plan_people(home)
    for change in plan.changes:
        console.print(change.sentence, soft_wrap=True, markup=False)
    for sentence in plan.refused:
        messages().print(f"[yellow]note[/] {sentence}", soft_wrap=True)
    if not plan.changes:
        console.print("Every login is as the directory says.")
    elif not yes:
        console.print("Nothing was changed. Do it with --yes.")


def _load(tables: Mapping[str, Iterable[Row | Fault]]) -> Loaded:
    """Load with a bar a table."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from resources.shop_load import load

    dsn = current_settings("admin").postgres_dsn
    given = {table: list(rows) for table, rows in tables.items()}
    console = messages()
    columns = (SpinnerColumn(), TextColumn("{task.description:<14}"), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = {table: bar.add_task(table, total=len(rows)) for table, rows in given.items()}
        written = bar.add_task("judged, added", total=None)

        def taken(table: str, rows: int) -> None:
            if table in tasks:
                bar.advance(tasks[table], rows)

        done = load(dsn, given, taken)
        bar.update(written, total=1, completed=1)
        return done


def _show(loaded: Loaded) -> None:
    from rich.table import Table

    table = Table("table", "rows given", "added", "there already", box=None)
    for name, given in loaded.given.items():
        table.add_row(name, f"{given:,}", f"{loaded.added[name]:,}", f"{given - loaded.added[name]:,}")
    output().print(table)
