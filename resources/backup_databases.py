"""The part of a backup that PostgreSQL keeps: the shop, the states of images, MLflow's experiments and models.

It rests on pg_dump and pg_restore of the server's own release. Rights, roles and tables are not dumped: `darkroom up`
makes them, and the rows come back into them in one transaction.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from resources.failures import PermanentFailure, TransientFailure, first_line

if TYPE_CHECKING:
    import psycopg

PLATFORM, MODELS = "postgres/platform", "postgres/mlflow"
EMPTY = (
    "A backup is restored into an empty home, and overwrites nothing: put the key store there, start PostgreSQL alone "
    "(`darkroom up --only postgres`), restore, then `darkroom up`."
)
_DUMPED = {
    PLATFORM: ("--data-only", "--table=shop.*", "--exclude-table=shop.alembic_version", "--table=images.image_status"),
    MODELS: ("--no-owner", "--no-privileges"),
}
_LOADED = {PLATFORM: ("--data-only", "--disable-triggers"), MODELS: ("--no-owner", "--role=mlflow")}
_FILLED = (("shop", "item_versions"), ("shop", "members"), ("shop", "sales"), ("images", "image_status"))
_FIRM_TRIGGERS = """
SELECT n.nspname, c.relname, t.tgname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND n.nspname IN ('shop', 'images')
"""


class BackupRefused(PermanentFailure):
    """The place is taken, the backup is not whole or another's, or there is something where it would be restored."""


class BackupFailed(TransientFailure):
    """A program of PostgreSQL's did not do its work, a database does not answer, or a disk does not."""


@dataclass(frozen=True)
class Databases:
    """PostgreSQL's databases, as their owner reaches them.

    Args:
        programs: folder with pg_dump and pg_restore.
        platform: DSN of the shop and the states; it names files and holds no secret, for it is on a command line.
        models: DSN of MLflow's; None without it.
        artifacts: folder of MLflow's files.
    """

    programs: Path
    platform: str
    models: str | None = None
    artifacts: Path | None = None

    @property
    def dumps(self) -> tuple[str, ...]:
        """Names of the dumps there are."""
        return (PLATFORM,) if self.models is None else (PLATFORM, MODELS)

    def files(self) -> list[tuple[str, Path]]:
        """MLflow's files, by their names below its folder."""
        root = self.artifacts
        if root is None or not root.is_dir():
            return []
        return [(path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*")) if path.is_file()]

    @contextmanager
    def written(self, name: str) -> Iterator[BinaryIO]:
        """A file of MLflow's, to be written."""
        target = (self.artifacts or Path()) / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with target.open("wb") as file:
            yield file

    @contextmanager
    def dumped(self, place: str) -> Iterator[BinaryIO]:
        """A dump as it comes. Raises BackupFailed at its end where pg_dump failed."""
        with self._program("pg_dump", "--format=custom", f"--dbname={self._dsn(place)}", *_DUMPED[place]) as said:
            yield said

    def insist_on_nothing(self) -> None:
        """Raise BackupRefused where a dump would come upon rows, BackupFailed where PostgreSQL does not answer."""
        from psycopg import sql

        with _connected(self.platform) as connection:
            for name in _FILLED:
                first = sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(*name))
                if connection.execute(first).fetchone() is not None:
                    raise BackupRefused(f"{'.'.join(name)} has rows already. {EMPTY}")
        if self.models is not None:
            with _connected(self.models) as connection:
                if connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public' LIMIT 1").fetchone():
                    raise BackupRefused(f"MLflow's database has tables already. {EMPTY}")

    def load(self, place: str, held: BinaryIO) -> None:
        """Put a dump back, whole or not at all; the shop's past the triggers that would record it as changes of today.

        Raises:
            BackupFailed: the database does not answer, or did not take it.
        """
        from psycopg import sql

        firm: list[tuple[str, str, str]] = []
        if place == PLATFORM:
            with _connected(self.platform) as connection:
                # pg_restore switches triggers on again, but not as firmly: those that fire for everybody are put back.
                firm = connection.execute(_FIRM_TRIGGERS).fetchall()
                # The row by which a new shop tells its record of changes from another's: the backup has its own.
                connection.execute("ALTER TABLE shop.change_record DISABLE TRIGGER ALL")
                connection.execute("DELETE FROM shop.change_record")
        whole = ("--single-transaction", "--exit-on-error", f"--dbname={self._dsn(place)}", *_LOADED[place])
        with self._program("pg_restore", *whole, given=held):
            pass
        if firm:
            with _connected(self.platform) as connection:
                for schema, table, trigger in firm:
                    names = map(sql.Identifier, (schema, table, trigger))
                    connection.execute(sql.SQL("ALTER TABLE {}.{} ENABLE ALWAYS TRIGGER {}").format(*names))

    def _dsn(self, place: str) -> str:
        return self.models if place == MODELS and self.models is not None else self.platform

    @contextmanager
    def _program(self, name: str, *arguments: str, given: Any = None) -> Iterator[Any]:
        with tempfile.TemporaryFile() as errors:
            program = subprocess.Popen(
                (str(self.programs / name), *arguments),
                stdin=given or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                yield program.stdout
                program.communicate()
            finally:
                program.kill()
                program.wait()
            if program.returncode != 0:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                raise BackupFailed(f"{name} ended with {program.returncode}: {said[-1] if said else 'it said nothing'}")


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    import psycopg

    try:
        connection = psycopg.connect(dsn, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise BackupFailed(
            f"PostgreSQL does not answer ({first_line(error)}): `darkroom up --only postgres` starts it alone."
        ) from error
    with connection:
        yield connection
