"""Erasing one uploader, or one image, before its day is over.

An uploader's data keys are destroyed, those of every living day: all that the doors took of them is dark at once,
wherever a copy lies. An image shares its key with the others of that day; it is put on the list of erased images, which
everybody asks who opens one, and its rows go. In both, rows go from every table; in bronze a row without key, headers
and payload stays in the place of each, so that the offsets of a partition stay without a gap.

Each step looks at what stands: stopped anywhere, doing it again finishes it, and doing it twice is harmless.

Limits: what was on its way while it was erased may come in behind it: doing it again takes that, too. What a producer
sent unsealed names nobody, and is erased by id alone. Kafka keeps sealed bytes until their day is purged, and files of
older versions of the tables stay until upkeep removes them, within a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.audit import audited
from resources.failures import PermanentFailure
from resources.lake import CommitConflict, TableMissing
from resources.lake_log import files_of
from resources.parquet_writer import discard
from transforms.names import ID, pseudonym
from transforms.retention import BRONZE, ERASED_HEADER, PURGED

if TYPE_CHECKING:
    import pyarrow.fs

    from resources.key_life import KeyLife
    from resources.keys import KeyStore
    from resources.lake import Lake
    from resources.postgres import ImageStatus
    from resources.settings import Settings
    from transforms.tables import TableSpec

TRIES = 5
_NAMED_BY = ("id", "key", "pseudonym", "headers")
"""The columns that say whose a row is."""


class NothingToErase(PermanentFailure):
    """No row, state or living key is of what was named."""


@dataclass(frozen=True)
class Wanted:
    """What is to be erased: images by id, or all that hangs on some keys and pseudonyms."""

    ids: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    """Names of data keys."""
    people: frozenset[tuple[date, str]] = frozenset()
    """Days and pseudonyms."""


@dataclass
class Erased:
    """What an erasure found, or did."""

    days: list[date] = field(default_factory=list)
    keys: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    states: int = 0


class Eraser:
    """Finds what is of an image or an uploader, and erases it.

    Args:
        settings: of this process.
        lake: the lake.
        keys: the key store.
        life: the same, as its owner.
        status: the projection.
        who: does it.
        why: both are kept in the audit log, which names no uploader.

    Raises (every method): TransientFailure where a part is away; AuditUnavailable, and then nothing was done.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        keys: KeyStore,
        life: KeyLife,
        status: ImageStatus,
        *,
        who: str,
        why: str,
    ) -> None:
        self._audit = settings.home / "logs" / "audit.log"
        self._lake = lake
        self._keys = keys
        self._life = life
        self._status = status
        self._who = who
        self._why = why

    def find_image(self, id: str) -> Erased:
        """What there is of an image; nothing is changed.

        Raises:
            ValueError: `id` is no image id.
            NothingToErase: no table has a row of it, and it has no state.
        """
        if not ID.fullmatch(id):
            raise ValueError(f"{id!r} is no image id; one matches {ID.pattern}.")
        found = self._find(Wanted(ids=frozenset({id})))
        state = self._status.get(id)
        if state is not None:
            # It may be on its way still; on the list, it is refused when it comes.
            found.days = sorted({*found.days, state.day})
            found.states = 1
        if not found.days:
            raise NothingToErase(
                f"No table and no state speaks of image {id}: it was erased or purged, or there never was one. Is that "
                "its id?"
            )
        return found

    def erase_image(self, id: str) -> Erased:
        """Put an image on the list of the erased, and remove its rows. Errors as of `find_image`."""
        found = self.find_image(id)
        audited(self._audit, "erase image", who=self._who, why=self._why, days=", ".join(map(str, found.days)))
        for day in found.days:
            self._keys.mark_erased(day, id, self._who)
        return self._remove(Wanted(ids=frozenset({id})), found.days)

    def find_uploader(self, name: str) -> Erased:
        """What there is of an uploader on the days that live; nothing is changed.

        Raises:
            NothingToErase: no day has a key of theirs.
        """
        wanted, days = self._of(name)
        if not wanted.keys:
            raise NothingToErase(
                "No living day has a key of that uploader: nothing came from them through a door, or all of it was "
                "purged. Names are written as the token has them."
            )
        found = self._find(wanted)
        return Erased(days, len(wanted.keys), found.rows)

    def erase_uploader(self, name: str) -> Erased:
        """Destroy an uploader's data keys, and remove their rows. Errors as of `find_uploader`."""
        self.find_uploader(name)
        wanted, days = self._of(name)
        audited(self._audit, "erase uploader", who=self._who, why=self._why, days=", ".join(map(str, days)))
        for key in sorted(wanted.keys):
            self._keys.destroy_key(key, self._who)
        done = self._remove(wanted, days)
        done.keys = len(wanted.keys)
        return done

    def _of(self, name: str) -> tuple[Wanted, list[date]]:
        secret = self._keys.platform_secret()
        people = {(day, pseudonym(secret, name, day)) for day in self._life.living()}
        keys = {one: self._keys.key_names(*one) for one in people}
        theirs = frozenset(one for one in people if keys[one])
        named = frozenset(key for one in theirs for key in keys[one])
        return Wanted(keys=named, people=theirs), sorted(day for day, _ in theirs)

    def _find(self, wanted: Wanted) -> Erased:
        found = Erased()
        days: set[date] = set()
        for spec in PURGED:
            for _, day, mask in self._matches(spec, wanted):
                found.rows[spec.name] = found.rows.get(spec.name, 0) + int(mask.sum())
                days.add(day)
        found.days = sorted(days)
        return found

    def _remove(self, wanted: Wanted, days: list[date]) -> Erased:
        done = Erased(days)
        for spec in PURGED:
            if rows := self._remove_from(spec, wanted):
                done.rows[spec.name] = rows
        done.states = self._status.erase(sorted(wanted.ids), sorted(wanted.people))
        return done

    def _remove_from(self, spec: TableSpec, wanted: Wanted) -> int:
        rows = 0
        conflicts = 0
        while True:
            try:
                handle = self._lake.open(spec.name)
            except TableMissing:
                return rows
            match = next(self._matches(spec, wanted, handle), None)
            if match is None:
                return rows
            path, day, mask = match
            with self._lake.reading(spec.name) as (filesystem, folder):
                whole = _read(filesystem, f"{folder}/{path}", spec, day)
                left = _without_words(whole, mask) if spec in BRONZE else whole.filter(pa.array(~mask))
                try:
                    self._lake.replace_files(handle, spec, [left], [path], info={"darkroom": "erase"})
                except CommitConflict:
                    conflicts += 1
                    if conflicts == TRIES:
                        raise
                    continue
                # At once: this version of the table needs it no more, and an older one should not have it.
                discard(filesystem, f"{folder}/{path}")
            rows += int(mask.sum())

    def _matches(self, spec: TableSpec, wanted: Wanted, handle: Any = None) -> Iterator[tuple[str, date, np.ndarray]]:
        """Files of a table that hold rows of it, their days, and which rows they are."""
        try:
            handle = handle or self._lake.open(spec.name)
        except TableMissing:
            return
        columns = [name for name in _NAMED_BY if name in spec.schema.names]
        for file in files_of(handle):
            with self._lake.reading(spec.name) as (filesystem, folder):
                day = file["partition.day"]
                mask = _mask(_read(filesystem, f"{folder}/{file['path']}", spec, day, columns), spec, wanted)
            if mask.any():
                yield file["path"], day, mask


def _read(
    filesystem: pyarrow.fs.FileSystem, path: str, spec: TableSpec, day: date, columns: Sequence[str] | None = None
) -> pa.Table:
    """A data file with its day; columns that the table got later are null."""
    with pq.ParquetFile(filesystem.open_input_file(path), pre_buffer=False) as file:
        has = set(file.schema_arrow.names)
        asked = [name for name in columns or spec.schema.names if name in has]
        table = file.read(asked, use_threads=False)
    wanted = spec.schema if columns is None else pa.schema([spec.schema.field(name) for name in (*columns, "day")])
    for name in wanted.names:
        if name == "day":
            table = table.append_column("day", pa.array([day] * table.num_rows, pa.date32()))
        elif name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, wanted.field(name).type))
    return table.select(wanted.names).cast(wanted)


def _mask(table: pa.Table, spec: TableSpec, wanted: Wanted) -> np.ndarray:
    """Which rows are wanted."""
    said: list[pl.Expr] = []
    if spec in BRONZE:
        ids = [one.encode() for one in sorted(wanted.ids)]
        said.append(pl.col("key").is_in(ids))
        said.append(_header_in("id", ids))
        said.append(_header_in("key", [one.encode() for one in sorted(wanted.keys)]))
    else:
        said += [
            pl.col(name).is_in(sorted(values))
            for name, values in (("id", wanted.ids), ("key", wanted.keys))
            if name in table.column_names
        ]
        if "pseudonym" in table.column_names:
            said += [(pl.col("day") == day) & (pl.col("pseudonym") == whose) for day, whose in wanted.people]
    frame = pl.DataFrame(table)
    return frame.select(pl.any_horizontal(pl.lit(False), *said).fill_null(False)).to_series().to_numpy()


def _header_in(name: str, values: list[bytes]) -> pl.Expr:
    """Whether one of a row's headers has that name and one of these values."""
    header = pl.element().struct
    return pl.col("headers").list.eval((header.field("key") == name) & header.field("value").is_in(values)).list.any()


def _without_words(table: pa.Table, mask: np.ndarray) -> pa.Table:
    """The same rows; those of the mask keep place and time, and lose key, headers and payload."""
    mark: Mapping[str, Any] = {
        "key": None,
        "payload": None,
        "payload_sha256": None,
        "headers": [{"key": ERASED_HEADER, "value": b""}],
    }
    for name, value in mark.items():
        column = table.schema.field(name)
        instead = pa.scalar(value, column.type)
        at = table.schema.get_field_index(name)
        table = table.set_column(at, column, pc.call_function("if_else", [pa.array(mask), instead, table[name]]))
    return table
