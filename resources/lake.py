"""The lake: Delta tables in folders or on object storage, appended to exactly once.

It rests on delta-rs. Exactly once is the work of two things: rows and transaction identifiers are one commit, and a
commit goes through the same table handle from which the identifiers were read. delta-rs refuses that commit when
another writer moved one of its identifiers since; it does not refuse a version that is lower than the last (delta-rs
#2580, #3821), so that is refused here. A handle must never be replaced by its URI between reading and committing.

Limits: identifiers cannot be listed, only asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError

from resources.lake_columns import conform, refuse_other_columns, widen
from resources.lake_commits import Commits
from resources.lake_failures import (
    CommitConflict,
    IdentifierRefused,
    LakeFull,
    LakeUnavailable,
    SchemaRefused,
    TableMissing,
    first_line,
    named,
)
from resources.lake_log import files_of
from resources.object_storage import Storage, storage_of
from resources.settings import Settings
from transforms.tables import TableSpec

__all__ = [
    "CommitConflict",
    "IdentifierRefused",
    "Lake",
    "LakeFull",
    "LakeUnavailable",
    "SchemaRefused",
    "TableMissing",
    "open_lake",
]


class Lake:
    """All tables below one root.

    Args:
        root: folder or URI.
        storage: how it is reached; needed for a URI.
    """

    def __init__(self, root: str, storage: Storage | None = None) -> None:
        self.root = root.rstrip("/")
        self.storage = storage or Storage(self.root)
        self._commits = Commits(self.root, self.storage)

    def uri(self, name: str) -> str:
        """Where the table `group/table` lies."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the table is there. An error while looking is raised, never read as 'no'."""
        try:
            self.open(name)
        except TableMissing:
            return False
        return True

    def open(self, name: str) -> DeltaTable:
        """A handle on the table as it is now.

        Raises:
            TableMissing: there is no such table.
            LakeUnavailable: there is something, and it could not be read.
        """
        uri = self.uri(name)
        with self.named(f"open table {name}"):
            try:
                return DeltaTable(uri, storage_options=self.storage.delta_options() or None)
            except TableNotFoundError as error:
                if self._has_log(uri):
                    raise LakeUnavailable(
                        f"Table {name} at {uri} has a log that delta-rs cannot read: {first_line(error)}. "
                        "Nothing was written. Restore the folder _delta_log, or move the table away.",
                        {"table": name, "uri": uri},
                    ) from error
                raise TableMissing(
                    f"There is no table {name} at {uri}. It is made by the first run that writes it; "
                    "is this the right lake (DARKROOM_LAKE, DARKROOM_HOME)?",
                    {"table": name, "uri": uri},
                ) from error

    def ensure(self, spec: TableSpec) -> DeltaTable:
        """A handle on the table, made empty first if it is not there; one of an older release gets what it lacks.

        Raises:
            SchemaRefused: the table has other columns than `spec`, and not only fewer that may be null.
            CommitConflict: other writers kept being first with a change of the table.
        """
        try:
            handle = self.open(spec.name)
        except TableMissing:
            handle = self._create(spec)
        with self.named(f"widen table {spec.name}"):
            handle = widen(handle, spec, lambda: self.open(spec.name))
        refuse_other_columns(handle, spec, self.uri(spec.name))
        return handle

    def identifier(self, handle: DeltaTable, app_id: str) -> int | None:
        """Version of a transaction identifier in the handle's snapshot; None when it was never written."""
        return self._commits.identifier(handle, app_id)

    def append(
        self,
        handle: DeltaTable,
        spec: TableSpec,
        data: pa.RecordBatch | pa.Table | None,
        identifiers: Mapping[str, int] | None = None,
        info: Mapping[str, str] | None = None,
        *,
        after: Mapping[str, int | None] | None = None,
        marks: Mapping[str, int] | None = None,
    ) -> int:
        """Add rows and move identifiers, as one commit through `handle`.

        Args:
            handle: the handle from which the identifiers were read; it shows the commit afterwards.
            data: rows of `spec.schema`, any order; None or no rows for a commit of identifiers alone.
            identifiers: transaction identifiers by app id; each must be higher than the handle's, if that has one.
            info: said in the commit's information, for people.
            after: the identifiers that the data continues from. Needed when a handle is kept for several commits:
                another writer's commit may have come into it in between.
            marks: identifiers that are values and no counters (the halves of a topic id); they may go anywhere.

        Returns:
            The table's version afterwards: this commit's, or that of a later one.

        Raises:
            CommitConflict: another writer moved one of these identifiers; nothing stands.
            IdentifierRefused: an identifier would go back or stand still; nothing stands.
            LakeFull: no room; nothing stands.
        """
        self._commits.refuse_moved(handle, spec, after or {})
        for app_id, version in (identifiers or {}).items():
            found = self.identifier(handle, app_id)
            if found is not None and version <= found:
                raise IdentifierRefused(
                    f"Table {spec.name}: identifier {app_id} is {found} and would become {version}. Identifiers only "
                    "rise; these rows stand already, and nothing was written.",
                    {"table": spec.name, "identifier": app_id, "found": found, "given": version},
                )
        written = self._commits.write(spec, data)
        return self._commits.commit(handle, spec, written, [], {**(identifiers or {}), **(marks or {})}, info)

    def replace_days(
        self,
        handle: DeltaTable,
        spec: TableSpec,
        data: pa.RecordBatch | pa.Table | None,
        days: Sequence[date],
        identifiers: Mapping[str, int] | None = None,
        info: Mapping[str, str] | None = None,
    ) -> int:
        """Put `data` in the place of all rows of `days`, as one commit through `handle`; other days stay as they are.

        The files to leave are those that the handle lists for these days, by name: no predicate and no error can
        widen it.

        Raises:
            ValueError: no days, or rows of another day.
            CommitConflict: another writer removed one of these files, or moved one of the identifiers.
            LakeFull: no room; nothing stands.
        """
        chosen = frozenset(days)
        if not chosen:
            raise ValueError(f"Table {spec.name}: no days to replace were given; name at least one.")
        given = set() if data is None else set(conform(spec, data).column("day").unique().to_pylist())
        others = sorted(given - chosen, key=str)
        if others:
            raise ValueError(
                f"Table {spec.name}: rows of {', '.join(map(str, others))} were given to replace "
                f"{', '.join(map(str, sorted(chosen)))}. Nothing was written."
            )
        paths = [file["path"] for file in files_of(handle) if file["partition.day"] in chosen]
        return self.replace_files(handle, spec, [] if data is None else [data], paths, identifiers, info)

    def replace_files(
        self,
        handle: DeltaTable,
        spec: TableSpec,
        data: Sequence[pa.RecordBatch | pa.Table],
        paths: Iterable[str],
        identifiers: Mapping[str, int] | None = None,
        info: Mapping[str, str] | None = None,
        *,
        after: Mapping[str, int | None] | None = None,
    ) -> int:
        """Put `data` in the place of the files `paths`, as one commit through `handle`; other files stay as they are.

        What of these files is to stay must be in `data`. At least one identifier should move: it is what makes two
        writers that looked at the same state conflict where there are no files yet.

        Args:
            data: tables that get files of their own.
            paths: as the handle lists them (`resources.lake_log.files_of`).
            identifiers: as for `append`; they may go anywhere.
            after: as for `append`.

        Raises:
            ValueError: a path that the handle does not list; nothing was written.
            CommitConflict: another writer removed one of these files, or moved one of the identifiers.
            LakeFull: no room; nothing stands.
        """
        self._commits.refuse_moved(handle, spec, after or {})
        removed = self._commits.removing(handle, spec, paths)
        written = self._commits.write(spec, *data)
        return self._commits.commit(handle, spec, written, removed, identifiers or {}, info)

    @contextmanager
    def reading(self, name: str) -> Iterator[tuple[pyarrow.fs.FileSystem, str]]:
        """File system and folder of a table, for reading its data files; errors inside get our names."""
        with self.named(f"read table {name}"):
            yield self.storage.filesystem(self.uri(name))

    def collect(self, frame: pl.LazyFrame, name: str, *, streaming: bool = False) -> pl.DataFrame:
        """The rows of a query over a table; errors of reading its data files get our names.

        Args:
            frame: over `polars.scan_delta` of a handle.
            name: of the table, for the error's message.
            streaming: in batches, in bounded memory.

        Raises:
            LakeUnavailable, LakeDenied: a data file cannot be read.
        """
        with self.named(f"read table {name}"):
            return frame.collect(engine="streaming" if streaming else "auto")

    def _create(self, spec: TableSpec) -> DeltaTable:
        uri = self.uri(spec.name)
        with self.named(f"make table {spec.name}"):
            try:
                # Version 0 is put only if absent: this can never replace a table.
                DeltaTable.create(
                    uri,
                    DeltaSchema.from_arrow(spec.schema),
                    mode="error",
                    partition_by=list(spec.partition_by),
                    name=spec.name,
                    description=spec.description,
                    configuration=spec.configuration(),
                    storage_options=self.storage.delta_options() or None,
                )
            except DeltaError:
                # Another process made it meanwhile; if not, opening says what is wrong.
                return self.open(spec.name)
        return self.open(spec.name)

    def _has_log(self, uri: str) -> bool:
        filesystem, folder = self.storage.filesystem(uri)
        selector = pyarrow.fs.FileSelector(f"{folder}/_delta_log", allow_not_found=True)
        return any(info.type == pyarrow.fs.FileType.File for info in filesystem.get_file_info(selector))

    def named(self, what: str) -> AbstractContextManager[None]:
        """Give errors of the storage our names inside a block; see `resources.lake_failures.named`."""
        return named(self.root, what)


def open_lake(settings: Settings) -> Lake:
    """The lake of these settings; nothing is read before a table is asked for."""
    return Lake(settings.lake_root, storage_of(settings))
