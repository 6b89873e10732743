"""`darkroom backup` and `darkroom restore`: everything but the keys, sealed, and the way back into an empty home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, current_settings, messages, output, plainly

if TYPE_CHECKING:
    from resources.backup import Backups, Manifest


def register(app: typer.Typer) -> None:
    """Add `backup` and `restore`."""
    app.command("backup")(backup)
    app.command("restore")(restore)


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup's folder.", file_okay=False)]


@plainly
def backup(folder: Folder) -> None:
    """Copy lake, shop and models into a new FOLDER, sealed. The keys are not in it: without them it is dark."""
    with _backups() as backups:
        made = backups.make(folder.absolute())
    console = output()
    _tell(made)
    console.print(f"Sealed in {folder}. It opens with this key store alone, and no day of it outlives its key.")
    console.print(f"Keep the key store elsewhere: {current_settings().keys_root} is not in it.", soft_wrap=True)


@plainly
def restore(
    folder: Folder,
    look: Annotated[bool, typer.Option("--look", help="Only say what is in it, and that its files are there.")] = False,
) -> None:
    """Put a backup into this home, where nothing is yet: its key store has to be there, and PostgreSQL to run alone."""
    console = output()
    with _backups(databases=not look) as backups:
        if look:
            _tell(backups.look(folder.absolute()))
            return
        done = backups.restore(folder.absolute())
    _tell(done.manifest)
    console.print(
        f"Restored into {current_home()}. Next: `darkroom up`, and then `darkroom accept-loss --yes --why TEXT`, also "
        "with --topic images.labels and --topic images.recognised: what Kafka had and no table is not in a backup, and "
        "landing waits until somebody says so.",
        soft_wrap=True,
    )
    if done.dark:
        files = sum(done.dark.values())
        console.print(f"{files} files are of days whose key is destroyed: their rows did not come back.")


@contextmanager
def _backups(*, databases: bool = True) -> Iterator[Backups]:
    from psycopg.conninfo import make_conninfo
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from resources.backup import Backups
    from resources.backup_databases import Databases
    from resources.keys import open_key_store
    from resources.lake import open_lake
    from stack.errors import StackError
    from stack.paths import Layout
    from stack.postgres import MLFLOW_DATABASE
    from stack.state import load_state

    settings, of_owner = current_settings("operator"), current_settings("admin")
    state, layout = load_state(current_home()), Layout(current_home())
    if state.postgres is None:
        raise StackError(f"There is no PostgreSQL in {current_home()} yet: darkroom up --only postgres")
    models = make_conninfo(of_owner.postgres_dsn, dbname=MLFLOW_DATABASE)
    where = Databases(state.postgres.programs / "bin", of_owner.postgres_dsn, models, layout.mlflow)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages(), transient=True, disable=not messages().is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield Backups(
            open_lake(settings),
            open_key_store(settings),
            where if databases else None,
            lambda what, done, of: bar.update(task, description=what, completed=done, total=of),
        )


def _tell(made: Manifest) -> None:
    from rich.table import Table

    table = Table("table", "version", "files", "rows", "bytes", title=f"Made {made.made_at}, release {made.release}")
    for name, said in made.tables.items():
        table.add_row(name, *(f"{said[column]:,}" for column in ("version", "files", "rows", "bytes")))
    others = {place: size for place, size in made.files.items() if not place.startswith("lake/")}
    databases = [place for place in others if place.startswith("postgres/")]
    output().print(table)
    output().print(
        f"Beside them {', '.join(Path(place).stem for place in databases) or 'nothing'} of PostgreSQL, and "
        f"{len(others) - len(databases)} files of models; {len(made.files):,} files in all, "
        f"{sum(made.files.values()):,} bytes.",
        soft_wrap=True,
    )
