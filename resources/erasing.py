"""Erasing one uploader, or one image, before its day is over.

An uploader's data keys are destroyed, those of every living day: all that the doors took of them is dark at once,
wherever a copy lies. An image shares its key with the others of that day; it is put on the list of erased images, which
everybody asks who opens one, and its rows go. In both, rows go from every table; in bronze a row without key, headers
and payload stays in the place of each, so that the offsets of a partition stay without a gap.

Each step looks at what stands: stopped anywhere, doing it again finishes it, and doing it twice is harmless.

Limits: what was on its way while it was erased may come in behind it: doing it again takes that, too. What a producer
sent unsealed names nobody, and is erased by id alone. Kafka keeps sealed bytes until their day is purged, and files of
older versions of the tables that are younger than an hour stay until upkeep removes them, within a day.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from resources.data_files import read_file, unnamed_files
from resources.failures import PermanentFailure
from resources.lake import TableMissing
from resources.lake_commits import until_committed
from resources.lake_failures import FileGone
from resources.parquet_writer import discard
from resources.whose_rows import Wanted, matches, which_of
from transforms.names import ID, KeyName, pseudonym
from transforms.retention import BRONZE, ERASED_HEADER, PURGED

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from resources.key_life import KeyLife
    from resources.keys import KeyStore
    from resources.lake import Lake
    from resources.postgres import ImageStatus
    from transforms.tables import TableSpec

TRIES = 5


class NothingToErase(PermanentFailure):
    """No row, state or living key is of what was named."""


class DayHeld(PermanentFailure):
    """A day that the erasure touches, or an uploader of it, is kept by a hold; nothing was erased."""


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
        lake: the lake.
        keys: the key store.
        life: the same, as its owner, who erases; who and why are kept in the audit log, which names no uploader.
        status: the projection.

    Raises (every method): TransientFailure where a part is away; AuditUnavailable, and then nothing was done.
    """

    def __init__(
        self,
        lake: Lake,
        keys: KeyStore,
        life: KeyLife,
        status: ImageStatus,
    ) -> None:
        self._lake = lake
        self._keys = keys
        self._life = life
        self._status = status

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
        """Put an image on the list of the erased, and remove its rows. Errors as of `find_image`, and DayHeld."""
        found = self.find_image(id)
        people = self._people_of(id) if self._life.held_keys() else set()
        self._begin("erase image", found.days, people)
        for day in found.days:
            self._keys.mark_erased(day, id, self._life.who)
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
        """Destroy an uploader's data keys, and remove their rows. Errors as of `find_uploader`, and DayHeld."""
        self.find_uploader(name)
        wanted, days = self._of(name)
        self._begin("erase uploader", days, wanted.people)
        for key in sorted(wanted.keys):
            self._keys.destroy_key(key, self._life.who)
        done = self._remove(wanted, days)
        done.keys = len(wanted.keys)
        return done

    def _begin(self, event: str, days: Sequence[date], people: Collection[tuple[date, str]]) -> None:
        """Note it, unless one of the days is held, or one of the people on theirs."""
        holds = self._life.holds()
        for day in days:
            if (hold := holds.get(day)) is not None:
                raise DayHeld(
                    f"Nothing was erased: {day} is held since {hold.since:%Y-%m-%d} by {hold.who}: {hold.why}. Erase "
                    f"when the hold has ended (`darkroom keys release {day}`).",
                    {"day": day.isoformat()},
                )
        for one in self._life.held_keys():
            if (one.day, one.key.pseudonym) in people:
                raise DayHeld(
                    f"Nothing was erased: what this uploader sent on {one.day} is held since {one.since:%Y-%m-%d} by "
                    f"{one.who}: {one.why}. Erase when the hold has ended (`darkroom keys release --uploader NAME`).",
                    {"day": one.day.isoformat()},
                )
        self._life.note(event, days=", ".join(map(str, days)))

    def _people_of(self, id: str) -> set[tuple[date, str]]:
        """Whose an image is, by its state and by the tables that name its key."""
        state = self._status.get(id)
        found = {(state.day, state.pseudonym)} if state is not None and state.pseudonym is not None else set()
        for spec in PURGED:
            if not {"id", "key"} <= set(spec.schema.names) or spec in BRONZE:
                continue
            try:
                rows = pl.scan_delta(self._lake.open(spec.name)).filter(pl.col("id") == id)
            except TableMissing:
                continue
            with self._lake.named(f"look whose image {id} is in table {spec.name}"):
                for key in rows.select("key").drop_nulls().unique().collect()["key"]:
                    name = KeyName.parse(key)
                    found.add((name.day, name.pseudonym))
        return found

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
            try:
                handle = self._lake.open(spec.name)
            except TableMissing:
                continue
            for file, which in matches(self._lake, handle, spec, wanted):
                found.rows[spec.name] = found.rows.get(spec.name, 0) + int(which.sum())
                days.add(file["partition.day"])
        found.days = sorted(days)
        return found

    def _remove(self, wanted: Wanted, days: list[date]) -> Erased:
        done = Erased(days)
        for spec in PURGED:
            if rows := self._remove_from(spec, wanted):
                done.rows[spec.name] = rows
            self._remove_older(spec, wanted, days)
        done.states = self._status.erase(sorted(wanted.ids), sorted(wanted.people))
        return done

    def _remove_from(self, spec: TableSpec, wanted: Wanted) -> int:
        rows = 0

        def attempt() -> None:
            nonlocal rows
            handle = self._lake.open(spec.name)
            # After a conflict those that were rewritten match no more.
            for file, which in matches(self._lake, handle, spec, wanted):
                self._rewrite(handle, spec, file, which)
                rows += int(which.sum())

        with suppress(TableMissing):
            until_committed(attempt, tries=TRIES)
        return rows

    def _remove_older(self, spec: TableSpec, wanted: Wanted, days: Collection[date]) -> None:
        """Remove files of older versions with rows of it: an erasure that was stopped left them, or a compaction."""
        try:
            older = unnamed_files(self._lake, spec, lambda day: day in days, datetime.now(UTC))
        except TableMissing:
            return
        for day, path in older:
            try:
                holds = which_of(self._lake, spec, {"path": path, "partition.day": day}, wanted).any()
            except (pa.ArrowInvalid, FileGone):
                continue  # half a file of a killed writer, which nobody can read and upkeep removes; or gone by now
            if holds:
                with self._lake.reading(spec.name) as (filesystem, folder):
                    discard(filesystem, f"{folder}/{path}")

    def _rewrite(self, handle: DeltaTable, spec: TableSpec, file: dict[str, Any], which: pl.Series) -> None:
        whole = read_file(self._lake, spec, file)
        left = _without_words(whole, which) if spec in BRONZE else whole.filter(~which)
        self._lake.replace_files(handle, spec, [left.to_arrow()], [file["path"]], info={"darkroom": "erase"})
        # At once: this version of the table needs it no more, and an older one should not have it.
        with self._lake.reading(spec.name) as (filesystem, folder):
            discard(filesystem, f"{folder}/{file['path']}")


def _without_words(rows: pl.DataFrame, which: pl.Series) -> pl.DataFrame:
    """The same rows; of those wanted, key, headers and payload give way to the mark of an erased one."""
    mark = pl.lit([{"key": ERASED_HEADER, "value": b""}], dtype=rows.schema["headers"])
    instead = {"key": None, "payload": None, "payload_sha256": None, "headers": mark}
    return rows.with_columns(
        pl.when(which).then(put).otherwise(pl.col(name)).alias(name) for name, put in instead.items()
    )
