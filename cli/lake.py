"""`darkroom reland` and `darkroom lake`: a look at the tables, and what a person does when rows are gone, or wrong.

RESTORE is Delta's own way back to an earlier version. It rewinds rows and not transaction identifiers, so that in a
table whose identifiers say how far its input was taken in, the rows it takes would never come again. Such tables are
refused here, and `reland` is offered: it writes just the rows that bronze lacks.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.context import current_settings, current_topic, messages, output, plainly
from cli.options import IN_BRONZE, Who, WhyInBronze, Yes, insist_on_why

lake_commands = typer.Typer(no_args_is_help=True, help="Versions of the lake's tables.")


def register(app: typer.Typer) -> None:
    """Add `reland` and the group `lake`."""
    app.command("reland")(land_again)
    app.add_typer(lake_commands, name="lake")
    lake_commands.command("check")(check)
    lake_commands.command("tables")(tables)
    lake_commands.command("at")(at)
    lake_commands.command("optimize")(optimize)
    lake_commands.command("history")(history)
    lake_commands.command("reland")(land_again)
    lake_commands.command("restore")(restore)


@plainly
def land_again(
    start: Annotated[int, typer.Option("--from", min=0, help="First offset to look at, of each partition.")],
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    topic: Annotated[str | None, typer.Option(help="Which one; the images' topic unless given.")] = None,
    yes: Yes = False,
    why: WhyInBronze = "",
    who: Who = None,
) -> None:
    """Write again the records that landed once and whose rows bronze has lost. A dry run unless --yes is given."""
    insist_on_why(yes, why, IN_BRONZE)

    from resources.lake import open_lake
    from resources.reland import reland

    settings, chosen = current_settings(), current_topic(topic)
    try:
        found = reland(
            settings,
            open_lake(settings),
            chosen,
            start=start,
            partition=partition,
            who=who or getpass.getuser(),
            why=why.strip() or "(dry run)",
            dry_run=not yes,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = output()
    for gap in found.gaps:
        console.print(gap.sentence, soft_wrap=True, markup=False)
    if found.written:
        rest = sum(gap.offsets for gap in found.gaps) - found.records
        told = f"; {rest} offsets hold no record, or none that the broker still has" if rest else ""
        console.print(f"{found.records} records written in {found.commits} commits{told}.", soft_wrap=True)
    elif not found.gaps:
        console.print(f"Nothing is missing: every offset that landed from {start} on has its row.", soft_wrap=True)
    elif not yes:
        console.print("To write those that the broker holds: the same with --yes --why TEXT", soft_wrap=True)
    else:
        console.print("None of them is left at the broker; nothing was written.", soft_wrap=True)


@plainly
def check() -> None:
    """Try the lake's storage with one small object: may it be made, made only once, read, and removed?"""
    from resources.lake_check import check_lake

    found = check_lake(current_settings())
    key = f"; objects are encrypted with the KMS key {found.kms_key}" if found.kms_key else ""
    output().print(f"The storage at {found.root} does what the lake rests on{key}.", soft_wrap=True, markup=False)


@plainly
def tables() -> None:
    """Every table: rows, files, bytes, its version and when that was written."""
    from rich.filesize import decimal
    from rich.table import Table

    from resources.lake import open_lake
    from resources.lake_tables import tables_held

    shown = Table("table", "rows", "files", "size", "version", "written (UTC)", box=None)
    for spec, held in tables_held(open_lake(current_settings())):
        if held is None:
            shown.add_row(spec.name, "not written yet")
        else:
            figures = (f"{held.rows:,}", f"{held.files:,}", decimal(held.bytes), str(held.version))
            shown.add_row(spec.name, *figures, f"{held.when:%Y-%m-%d %H:%M:%S}")
    output().print(shown)


@plainly
def at(
    table: Annotated[str, typer.Argument(help="Name of the table, such as images/processed_images.")],
    version: Annotated[int | None, typer.Option(min=0, help="The version; `darkroom lake history` lists them.")] = None,
    when: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"], help="An instant, UTC unless it says."),
    ] = None,
) -> None:
    """What a table held at a version or an instant: rows by day, files, bytes, columns."""
    from rich.filesize import decimal

    from resources.lake import open_lake
    from resources.lake_tables import held_at, known_table

    if version is not None and when is not None:
        raise typer.BadParameter("Give --version N or --when INSTANT, and not both.")
    if when is not None:
        asked: int | datetime = when.replace(tzinfo=when.tzinfo or UTC)
    elif version is not None:
        asked = version
    else:
        raise typer.BadParameter("Give --version N or --when INSTANT.")
    held = held_at(open_lake(current_settings()), known_table(table), asked)
    console = output()
    console.print(
        f"{held.table}, version {held.version}, written {held.when:%Y-%m-%d %H:%M:%S} UTC: {held.rows:,} rows in "
        f"{held.files:,} files, {decimal(held.bytes)}.",
        soft_wrap=True,
    )
    for day, rows in held.days.items():
        if day is not None:
            console.print(f"  {day}  {rows:,} rows")
    console.print(f"Columns: {', '.join(held.columns)}", soft_wrap=True)


@plainly
def optimize(
    table: Annotated[str, typer.Argument(help="Name of the table, such as images/raw_images.")],
) -> None:
    """Join a table's small files, write a checkpoint, remove files that nothing has named for a day. No row goes."""
    from rich.filesize import decimal

    from resources.lake import open_lake
    from resources.lake_tables import known_table
    from resources.upkeep import maintain

    spec = known_table(table)
    with messages().status(f"joining files of {spec.name}"):
        done = maintain(open_lake(current_settings()), spec)
    if done is None:
        output().print(f"{spec.name} is not written yet.")
        return
    files = f"{done.files_before:,} files are {done.files_after:,}; {done.removed_files:,} old ones are removed"
    held = f"{done.rows:,} rows, {decimal(done.bytes)}, version {done.version}"
    output().print(f"{spec.name}: {files}. It holds {held}.", soft_wrap=True)


@plainly
def history(
    table: Annotated[str, typer.Argument(help="Name of the table, such as images/raw_images.")],
    limit: Annotated[int, typer.Option(min=1, help="How many versions, the newest first.")] = 20,
) -> None:
    """The versions of a table: when, what was done, and what a person said of it."""
    from rich.table import Table

    from resources.restore import versions_of

    settings = current_settings()
    shown = Table("version", "when (UTC)", "operation", "said", box=None)
    for one in versions_of(settings, table, limit):
        shown.add_row(str(one.version), f"{one.when:%Y-%m-%d %H:%M:%S}", one.operation, one.said)
    output().print(shown)


@plainly
def restore(
    table: Annotated[str, typer.Argument(help="Name of the table, such as images/daily_uploads.")],
    version: Annotated[int, typer.Option(min=0, help="The version to go back to; `darkroom lake history` lists them.")],
    yes: Yes = False,
) -> None:
    """Put a table back to an earlier version, as a new version. A dry run unless --yes is given."""
    from resources.restore import restore_table

    done = restore_table(current_settings(), table, version, dry_run=not yes)
    console = output()
    console.print(
        f"{table}: version {done.before} has {done.rows_before} rows, version {version} has {done.rows_then}.",
        soft_wrap=True,
    )
    console.print(
        f"Version {done.after} is version {version} again."
        if done.after is not None
        else "To do it: the same with --yes",
        soft_wrap=True,
    )
