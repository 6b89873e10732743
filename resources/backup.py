"""Backups of the lake, the shop and the models, sealed, and the way back.

Why: a disk that dies must not take seven days of images and years of the shop along; and a backup must not outlive what
it holds. Mechanism: each table's files of one version are copied, and each file of a day is sealed once more under a
key of that day, made where there is none: the purge of a day darkens it in every backup, also what came unsealed. Logs
of tables, dumps of PostgreSQL and models are sealed under the platform's secret. The key store and the stack's secrets
are no part of it: only what is named here is read. Derived tables come first and bronze last, so that what is restored
has the records of all that was made of them.

A backup is whole once its manifest stands, which is written last. What was not landed yet is Kafka's and not here.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.backup_databases import EMPTY, BackupFailed, BackupRefused, Databases
from resources.failures import PlatformFailure, first_line
from resources.key_objects import DayDestroyed
from resources.sealed_file import Header, SealBroken, open_file, seal_file
from transforms.retention import KEPT, PURGED

if TYPE_CHECKING:
    import pyarrow.fs
    from obstore.store import ObjectStore

    from resources.keys import KeyStore
    from resources.lake import Lake

FORMAT = "darkroom backup 1"
MANIFEST = "manifest.sealed"
_OF_A_DAY = frozenset(spec.name for spec in PURGED)
_PURPOSE = "backup"
_LOG = "_delta_log"
_VERSION_DIGITS = 20
_TRIES = 5


@dataclass
class Manifest:
    """What is in a backup."""

    made_at: str
    release: str
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    """`version`, `files`, `rows` and `bytes` by table."""
    files: dict[str, int] = field(default_factory=dict)
    """Bytes of each file, by its place."""
    format: str = FORMAT


@dataclass
class Restored:
    """What came back. `dark`: files of days whose key is destroyed, which no backup brings back."""

    manifest: Manifest
    tables: list[str] = field(default_factory=list)
    dark: dict[str, int] = field(default_factory=dict)


Told = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many steps are."""


class Backups:
    """Makes backups in a folder, and restores from it.

    Args:
        lake: the lake.
        keys: its key store.
        databases: PostgreSQL's; None for the lake alone.
        told: progress.
    """

    def __init__(self, lake: Lake, keys: KeyStore, databases: Databases | None, told: Told | None = None) -> None:
        self._lake = lake
        self._keys = keys
        self._databases = databases
        self._told = told or (lambda what, done, of: None)

    def make(self, folder: Path) -> Manifest:
        """Write a backup into a folder that is not there yet, or empty.

        Raises:
            BackupRefused: the folder is taken.
            BackupFailed: pg_dump failed, or a file could not be read or written.
            TransientFailure: lake or keys are away.
        """
        with _said(f"The backup in {folder} was stopped; what stands there is none, remove it and begin again"):
            return self._make(folder)

    def _make(self, folder: Path) -> Manifest:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BackupRefused(
                f"{folder} is there already, and a backup is never written over another: name a new one."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Manifest(datetime.now(UTC).isoformat(timespec="seconds"), version("darkroom"))
        specs = [spec for spec in (*KEPT, *PURGED) if self._lake.exists(spec.name)]  # bronze is last of all
        for number, spec in enumerate(specs):
            self._told(spec.name, number, len(specs) + 2)
            self._back_up_table(folder, spec.name, made)
        self._told("PostgreSQL", len(specs), len(specs) + 2)
        if (databases := self._databases) is not None:
            for place in databases.dumps:
                with databases.dumped(place) as source:
                    self._seal(folder, f"{place}.sealed", source, made)
            self._told("models", len(specs) + 1, len(specs) + 2)
            for name, path in databases.files():
                with path.open("rb") as source:
                    self._seal(folder, f"artifacts/{name}.sealed", source, made)
        said = json.dumps(made.__dict__).encode()
        seal_file(io.BytesIO(said), folder / MANIFEST, MANIFEST, self._platform_key())
        self._told("done", len(specs) + 2, len(specs) + 2)
        return made

    def look(self, folder: Path) -> Manifest:
        """What a backup holds, once it is known that every file of it is there; what is in them is not looked at.

        Raises:
            BackupRefused: it is not whole, or no backup.
            SealBroken: it was changed, or the key store is not the one that it was made with.
        """
        if not (folder / MANIFEST).is_file():
            raise BackupRefused(
                f"{folder} has no {MANIFEST}: it is no backup, or one that was stopped before its end. Make it anew."
            )
        held = io.BytesIO()
        open_file(folder / MANIFEST, MANIFEST, self._key_of, held)
        said = json.loads(held.getvalue())
        if said.get("format") != FORMAT:
            raise BackupRefused(f"{folder} is a {said.get('format')!r}; this release reads {FORMAT!r}.")
        found = Manifest(**said)
        if missing := [place for place in found.files if not (folder / place).is_file()]:
            raise BackupRefused(
                f"{folder} lacks {len(missing)} of its {len(found.files)} files, {missing[0]} among them."
            )
        return found

    def restore(self, folder: Path) -> Restored:
        """Put everything back where nothing is: no table, no row of the shop, no model.

        Stopped in the middle, it leaves a home that refuses another: it is to be wiped, and begun again. Of days whose
        key is destroyed the rows do not come back.

        Raises:
            BackupRefused: something is there, or the backup is not whole.
            SealBroken: a file was changed, or the key store is another.
            BackupFailed: a database does not answer or did not take its rows, or a file could not be read or written.
        """
        with _said(f"Restoring from {folder} was stopped; wipe this home, put its key store there and begin again"):
            return self._restore(folder)

    def _restore(self, folder: Path) -> Restored:
        done = Restored(self.look(folder))
        if there := [name for name in done.manifest.tables if self._lake.exists(name)]:
            raise BackupRefused(
                f"The lake at {self._lake.root} has {', '.join(there[:3])}{' and others' * (len(there) > 3)} already. "
                f"{EMPTY}"
            )
        if self._databases is not None:
            self._databases.insist_on_nothing()
        tables = list(done.manifest.tables)
        for number, name in enumerate(reversed(tables)):  # bronze first: what is made of it finds it there
            self._told(name, number, len(tables) + 2)
            self._restore_table(folder, name, done)
        self._told("PostgreSQL", len(tables), len(tables) + 2)
        if self._databases is not None:
            self._restore_databases(folder, self._databases, done.manifest)
        self._told("done", len(tables) + 2, len(tables) + 2)
        return done

    def _back_up_table(self, folder: Path, name: str, made: Manifest) -> None:
        from resources.lake_log import files_of

        for attempt in range(_TRIES):
            handle = self._lake.open(name)
            files, at = files_of(handle), handle.version()
            try:
                self._copy_files(folder, name, files, at, made)
            except FileNotFoundError:
                # Upkeep or a purge has taken a file meanwhile: the table's next version names what stands.
                if attempt == _TRIES - 1:
                    raise
                self._forget(folder, name, made)
                continue
            rows = sum(int(file["num_records"] or 0) for file in files)
            size = sum(int(file["size_bytes"]) for file in files)
            made.tables[name] = {"version": at, "files": len(files), "rows": rows, "bytes": size}
            return

    def _copy_files(self, folder: Path, name: str, files: list[dict[str, Any]], at: int, made: Manifest) -> None:
        filesystem, root = self._lake.storage.filesystem(self._lake.uri(name))
        for path, day in [*((file["path"], file.get("partition.day")) for file in files), *_log(filesystem, root, at)]:
            place = f"lake/{name}/{path}.sealed"
            if isinstance(day, date) and name in _OF_A_DAY:  # counts outlive the day that they count
                try:
                    # A day of records that nobody sealed, and of which no image was made, has no key yet.
                    key = self._keys.day_secret(day, _PURPOSE, make=True)
                except DayDestroyed:
                    continue  # its rows are on their way out
                named = day.isoformat()
            else:
                key, named = self._platform_key(), None
            with filesystem.open_input_stream(f"{root}/{path}") as source:
                made.files[place] = seal_file(source, folder / place, place, key, named)

    def _forget(self, folder: Path, name: str, made: Manifest) -> None:
        for place in [place for place in made.files if place.startswith(f"lake/{name}/")]:
            del made.files[place]
        for path in (folder / "lake" / name).rglob("*.sealed"):
            path.unlink()

    def _restore_table(self, folder: Path, name: str, done: Restored) -> None:
        store = self._store()
        places = [place for place in done.manifest.files if place.startswith(f"lake/{name}/")]
        log = sorted(place for place in places if f"/{_LOG}/" in place)
        dark = 0
        for place in [*(place for place in places if place not in log), *log]:
            path = place.removeprefix(f"lake/{name}/").removesuffix(".sealed")
            try:
                # Proved to its end before any of it is in the lake.
                with tempfile.TemporaryFile() as held:
                    open_file(folder / place, place, self._key_of, held)
                    held.seek(0)
                    with self._lake.named(f"write a file of table {name}"):
                        store.put(f"{name}/{path}", held)
            except DayDestroyed:
                dark += 1
        self._take_out_absent(name)
        done.tables.append(name)
        if dark:
            done.dark[name] = dark

    def _store(self) -> ObjectStore:
        """The lake's root as objects, each put whole or not at all."""
        from obstore.store import LocalStore, from_url

        storage = self._lake.storage
        if storage.remote:
            return from_url(storage.root, **storage.object_options())
        return LocalStore(storage.root, mkdir=True)

    def _take_out_absent(self, name: str) -> None:
        """Files of days that are dark, then or now, were not brought along: the table must not name them."""
        from resources.lake_log import files_of

        if name not in _OF_A_DAY:
            return
        handle, spec = self._lake.open(name), next(spec for spec in PURGED if spec.name == name)
        filesystem, root = self._lake.storage.filesystem(self._lake.uri(name))
        paths = {file["path"] for file in files_of(handle)}
        absent = {path for path in paths if not _is_there(filesystem, f"{root}/{path}")}
        if absent:
            self._lake.replace_files(handle, spec, [], absent, info={"darkroom": "restore: dark days"})

    def _restore_databases(self, folder: Path, databases: Databases, made: Manifest) -> None:
        for place in databases.dumps:
            if f"{place}.sealed" in made.files:
                with tempfile.TemporaryFile() as held:
                    open_file(folder / f"{place}.sealed", f"{place}.sealed", self._key_of, held)
                    held.seek(0)
                    databases.load(place, held)
        for place in [place for place in made.files if place.startswith("artifacts/")]:
            with databases.written(place.removeprefix("artifacts/").removesuffix(".sealed")) as target:
                open_file(folder / place, place, self._key_of, target)

    def _seal(self, folder: Path, place: str, source: Any, made: Manifest) -> None:
        made.files[place] = seal_file(source, folder / place, place, self._platform_key())

    def _platform_key(self) -> bytes:
        return self._keys.platform_secret()

    def _key_of(self, header: Header) -> bytes:
        if header.key is None:
            return self._platform_key()
        try:
            day = date.fromisoformat(header.key)
        except ValueError:
            raise SealBroken(f"{header.place} says that it is of {header.key!r}, which is no day.") from None
        return self._keys.day_secret(day, _PURPOSE)


def _log(filesystem: pyarrow.fs.FileSystem, root: str, at: int) -> list[tuple[str, None]]:
    """The entries and checkpoints of a table's log up to a version."""
    import pyarrow.fs

    found = []
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(f"{root}/{_LOG}")):
        number = info.base_name[:_VERSION_DIGITS]
        if info.type == pyarrow.fs.FileType.File and number.isdigit() and int(number) <= at:
            found.append((f"{_LOG}/{info.base_name}", None))
    return sorted(found)


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Give errors of disks and buckets a sentence."""
    from resources.lake_failures import STORAGE_ERRORS

    try:
        yield
    except PlatformFailure:
        raise
    except STORAGE_ERRORS as error:
        raise BackupFailed(f"{what}: {first_line(error)}.") from error


def _is_there(filesystem: pyarrow.fs.FileSystem, path: str) -> bool:
    import pyarrow.fs

    return filesystem.get_file_info(path).type == pyarrow.fs.FileType.File
