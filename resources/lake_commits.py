"""One commit to a table: data files first, then the entry of the log that names them and moves identifiers.

Where the entry is refused its files are deleted again, unless the log names them all the same. Checkpoints are written
here and not by the commit's hook, for a hook that fails (a full disk) reports a commit as failed that stands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from resources.lake_columns import conform
from resources.lake_failures import CommitConflict, LakeFull, first_line, named
from resources.lake_log import files_of, names_file
from resources.object_storage import Storage
from resources.parquet_writer import WrittenFile, discard, partition_value, write_files
from transforms.tables import TableSpec

CHECKPOINT_EVERY = 20
"""Commits between two checkpoints: opening then reads at most so many small files."""
COMMIT_TRIES = 20

_logger = logging.getLogger("darkroom.lake")

Result = TypeVar("Result")


def until_committed(
    attempt: Callable[[], Result], look_again: Callable[[], None] = lambda: None, tries: int = COMMIT_TRIES
) -> Result:
    """What `attempt` returns, which is called again where another writer was first.

    Args:
        attempt: works out rows from the table as it is, and commits them.
        look_again: opens the table anew between two attempts; not needed where `attempt` opens it.
        tries: attempts in all.

    Raises:
        CommitConflict: that of the last attempt.
    """
    for _ in range(tries - 1):
        try:
            return attempt()
        except CommitConflict:
            look_again()
    return attempt()


class Commits:
    """Commits to the tables below one root.

    Args:
        root: folder or URI.
        storage: how it is reached.
    """

    def __init__(self, root: str, storage: Storage) -> None:
        self._root = root
        self._storage = storage

    def identifier(self, handle: DeltaTable, app_id: str) -> int | None:
        """Version of a transaction identifier in the handle's snapshot; None when it was never written."""
        # Not from memory: the log is read for it.
        with self._named(f"read the identifier {app_id}"):
            return handle.transaction_version(app_id)

    def refuse_moved(self, handle: DeltaTable, spec: TableSpec, after: Mapping[str, int | None]) -> None:
        """Raise CommitConflict unless the identifiers are those that the rows at hand continue from."""
        for app_id, version in after.items():
            found = self.identifier(handle, app_id)
            if found != version:
                raise CommitConflict(
                    f"Table {spec.name}: identifier {app_id} is {found}, and the rows at hand continue from {version}: "
                    "another writer committed. Nothing was written; open the table again and go on from there.",
                    {"table": spec.name, "identifier": app_id},
                )

    def removing(self, handle: DeltaTable, spec: TableSpec, paths: Iterable[str]) -> list[RemoveAction]:
        """What takes the files `paths` out of a table.

        Raises:
            ValueError: a path that the handle does not list.
        """
        listed = {file["path"]: file for file in files_of(handle)}
        chosen = list(paths)
        if unknown := [path for path in chosen if path not in listed]:
            raise ValueError(
                f"Table {spec.name}, version {handle.version()}, has no file {unknown[0]}: take paths from this handle."
            )
        removed_at = int(time.time() * 1000)
        return [
            RemoveAction(
                path,
                True,
                removed_at,
                listed[path]["size_bytes"],
                {name: partition_value(listed[path][f"partition.{name}"]) for name in spec.partition_by},
            )
            for path in chosen
        ]

    def write(self, spec: TableSpec, *data: pa.RecordBatch | pa.Table | None) -> list[WrittenFile]:
        """Write rows into data files, each table into files of its own; no version names them yet."""
        written: list[WrittenFile] = []
        tables = [conform(spec, one) for one in data if one is not None and one.num_rows]
        if tables:
            filesystem, folder = self._folder(spec)
            with self._named(f"write a file of table {spec.name}"):
                for table in tables:
                    write_files(filesystem, folder, spec, table, written)
        return written

    def commit(
        self,
        handle: DeltaTable,
        spec: TableSpec,
        written: Sequence[WrittenFile],
        removed: Sequence[RemoveAction],
        identifiers: Mapping[str, int],
        info: Mapping[str, str] | None,
    ) -> int:
        """Put one commit through `handle`, which shows it afterwards; returns the table's version.

        Raises:
            CommitConflict, LakeFull: nothing stands, and the files are deleted again.
        """
        before = handle.version()
        try:
            self._put(handle, spec, [*removed, *map(self._add, written)], identifiers, info)
        except (CommitConflict, LakeFull):
            if not self._stands(spec, before, written):
                # Nothing will ever point to these files; on a full disk each try would leave more.
                filesystem, folder = self._folder(spec)
                for file in written:
                    discard(filesystem, f"{folder}/{file.path}")
                raise
        with self._named(f"read what was committed to table {spec.name}"):
            # delta-rs leaves the handle where it was.
            handle.update_incremental()
        version = handle.version()
        if version // CHECKPOINT_EVERY != before // CHECKPOINT_EVERY:
            self._checkpoint(handle, spec)
        return version

    def _add(self, file: WrittenFile) -> AddAction:
        return AddAction(
            file.path,
            file.size,
            file.partition_values,
            int(time.time() * 1000),
            data_change=True,
            stats=file.statistics,
        )

    def _put(
        self,
        handle: DeltaTable,
        spec: TableSpec,
        actions: list[AddAction | RemoveAction],
        identifiers: Mapping[str, int],
        info: Mapping[str, str] | None,
    ) -> None:
        with self._named(f"commit to table {spec.name}"):
            try:
                handle.create_write_transaction(
                    actions,
                    mode="append",
                    schema=handle.schema(),
                    partition_by=list(spec.partition_by),
                    commit_properties=CommitProperties(
                        custom_metadata=dict(info or {}),
                        app_transactions=[Transaction(app_id, version) for app_id, version in identifiers.items()],
                    ),
                    # Checkpoints: below. Old log files: upkeep; the hook would list the whole log at every commit.
                    post_commithook_properties=PostCommitHookProperties(
                        create_checkpoint=False, cleanup_expired_logs=False
                    ),
                )
            except CommitFailedError as error:
                raise CommitConflict(
                    f"Table {spec.name}: another writer committed since this handle was opened at version "
                    f"{handle.version()}: {first_line(error)}. Nothing was written; open the table again and go on "
                    "from there.",
                    {"table": spec.name, "version": handle.version()},
                ) from error

    def _stands(self, spec: TableSpec, before: int, written: Sequence[WrittenFile]) -> bool:
        """Whether the log names one of these files. Without files there is nothing to lose by a conflict: who looks
        again finds the identifiers moved."""
        if not written:
            return False
        filesystem, folder = self._folder(spec)
        return names_file(filesystem, folder, before, written[0].path.rpartition("/")[2])

    def _checkpoint(self, handle: DeltaTable, spec: TableSpec) -> None:
        try:
            handle.create_checkpoint()
        except (DeltaError, OSError) as error:
            # The commit stands. Without a checkpoint opening is slower, and upkeep writes one within the hour.
            _logger.warning(
                "No checkpoint of table %s at version %s: %s", spec.name, handle.version(), first_line(error)
            )

    def _folder(self, spec: TableSpec) -> tuple[pyarrow.fs.FileSystem, str]:
        return self._storage.filesystem(f"{self._root}/{spec.name}")

    def _named(self, what: str) -> AbstractContextManager[None]:
        return named(self._root, what)
