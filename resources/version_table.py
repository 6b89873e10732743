"""A Delta table of item versions that follows an event log: each batch rewrites only the files that it changes.

Mechanism: the table remembers how many events it has folded, in the commit that brought their versions. Of the events
that came since it takes the keys. Where all of a key's events are later than those before them, the key's current
version and the new events are enough, and closed versions are not looked at; a late event has its key folded anew from
the whole log. What changed (`transforms.scd2.changes`) is one commit: files that held a version to be taken away are
written anew without it, new versions beside them. Readers see the table before or after it, and nothing between.

The table is partitioned by current_flag, so that a batch costs by the current versions, which it spreads over, and not
by the history behind them. Late events cost by the closed files that they reach, and by reading the log's keys.

Limits: a rebuild holds the log in memory; so does the reading of late keys, of the log's keys and times.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from resources.data_files import read_file
from resources.event_log import EventLog
from resources.lake import Lake
from resources.lake_log import files_of
from transforms.scd2 import UPSERT, changes, check_events, fold, touched
from transforms.table_spec import TableSpec

FILE_ROWS = 250_000
"""Rows of a file that a rebuild writes; those of the current versions lie sorted by key, so that few keys touch few."""


@dataclass(frozen=True)
class Refreshed:
    """What one refresh did. `late` are keys that were folded anew; versions that were closed are in both counts."""

    events: int = 0
    rejected: int = 0
    keys: int = 0
    late: int = 0
    versions_gone: int = 0
    versions_new: int = 0
    files_rewritten: int = 0
    rebuilt: bool = False


class VersionTable:
    """The versions of one log's items.

    Args:
        lake: the lake.
        spec: key, attributes, effective_date, end_date and current_flag; partitioned by current_flag, with statistics
            of the key's first column.
        log: the events; opened before this table, which therefore never knows more than it.
        key: columns that identify an item.
    """

    def __init__(self, lake: Lake, spec: TableSpec, log: EventLog, key: Sequence[str]) -> None:
        self._lake, self._spec, self._log, self._key = lake, spec, log, list(key)
        name = spec.name.split("/")[-1]
        self._folded_id, self._generation_id = f"{name}-folded", f"{name}-generation"
        self.handle = lake.ensure(spec)
        self._seen = {app: lake.identifier(self.handle, app) for app in (self._folded_id, self._generation_id)}
        self._attributes = [
            column
            for column in spec.schema.names
            if column not in {*self._key, "effective_date", "end_date", "current_flag"}
        ]
        self._event_columns = [*self._key, *self._attributes, "op", "ts", "seq"]

    @property
    def behind(self) -> int:
        """Events of the log that are not folded yet; all of them where the log was begun anew."""
        return self._log.rows - (self._folded or 0)

    def refresh(self) -> Refreshed:
        """Fold what came since the last time, as one commit; builds anew where the log was begun anew.

        Raises:
            CommitConflict: another refresh was first; nothing stands.
        """
        folded = self._folded
        if folded is None:
            return self.rebuild() if self._log.filled else Refreshed()
        if folded == self._log.rows:
            return Refreshed()
        accepted, rejected = check_events(self._events(pl.col("arrival") >= folded), self._key)
        fresh = accepted.select(self._event_columns)
        keys = touched(fresh, self._key)
        late = self._late(fresh, folded)
        prompt = keys.join(late, on=self._key, how="anti")
        standing = pl.concat([self._rows(True, keys), self._rows(False, late)])
        before = standing.drop("path")
        # Of a key that has no late event, the current version stands for all that was folded.
        known = before.filter("current_flag").join(prompt, on=self._key, how="semi")
        told = [
            known.with_columns(op=pl.lit(UPSERT), ts="effective_date", seq=pl.lit(None, pl.Int64)),
            fresh.join(prompt, on=self._key, how="semi"),
        ]
        if late.height:
            told.append(self._events().join(late, on=self._key, how="semi"))
        after = fold(pl.concat([one.select(self._event_columns) for one in told]), self._key)
        gone, new = changes(before, after, self._key)
        whose = [*self._key, "effective_date"]
        touching = set(standing.join(gone, on=whose, how="semi")["path"])
        files = [file for file in files_of(self.handle) if file["path"] in touching]
        self._commit(self._rewritten(files, gone, new, standing.select(*whose, "path")), files)
        return Refreshed(
            events=fresh.height,
            rejected=rejected.height,
            keys=keys.height,
            late=late.height,
            versions_gone=gone.height,
            versions_new=new.height,
            files_rewritten=len(files),
        )

    def rebuild(self) -> Refreshed:
        """Fold the whole log, and put the result in the place of all rows, as one commit.

        Raises:
            CommitConflict: another refresh was first; nothing stands.
        """
        events, rejected = check_events(self._events(), self._key)
        history = fold(events, self._key)
        files = files_of(self.handle)
        parts = [history.filter(pl.col("current_flag") == flag) for flag in (True, False)]
        data = [part.slice(start, FILE_ROWS) for part in parts for start in range(0, part.height, FILE_ROWS)]
        self._commit(data, files)
        return Refreshed(
            events=events.height,
            rejected=rejected.height,
            keys=history.select(self._key).n_unique(),
            versions_new=history.height,
            files_rewritten=len(files),
            rebuilt=True,
        )

    @property
    def _folded(self) -> int | None:
        """How many events are folded; None where nothing that is there may be gone on from."""
        if self._seen[self._generation_id] != self._log.generation:
            return None
        return self._seen[self._folded_id]

    def _events(self, *conditions: pl.Expr) -> pl.DataFrame:
        return self._log.read(*conditions).select(self._event_columns)

    def _late(self, fresh: pl.DataFrame, folded: int) -> pl.DataFrame:
        """Keys with an event that is not after all that were folded of that key."""
        none = fresh.select(self._key).clear()
        if not fresh.height:
            return none
        first: Any = fresh["ts"].min()
        if not self._log.reaches(first, folded):
            return none
        begins = fresh.group_by(self._key).agg(first=pl.col("ts").min())
        before = self._log.scan().filter(pl.col("arrival") < folded, pl.col("ts") >= first)
        earlier = self._log.collect(before.select(*self._key, "ts"))
        return (
            earlier.join(begins, on=self._key)
            .filter(pl.col("ts") >= pl.col("first"))
            .select(self._key)
            .unique(maintain_order=True)
        )

    def _rows(self, current: bool, keys: pl.DataFrame) -> pl.DataFrame:
        """The standing versions of some keys, with the path of the file that holds each."""
        empty = pl.DataFrame(self._spec.schema.empty_table()).with_columns(path=pl.lit(None, pl.String))
        found = [
            self._read(file, keys).with_columns(path=pl.lit(file["path"])) for file in self._holding(current, keys)
        ]
        return pl.concat([empty, *(rows.select(empty.columns) for rows in found)])

    def _rewritten(
        self, files: Iterable[dict[str, Any]], gone: pl.DataFrame, new: pl.DataFrame, places: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """The files without what is gone; a key's new current version lies where its last one lay."""
        whose = [*self._key, "effective_date"]
        homes = places.join(gone.filter("current_flag"), on=whose, how="semi").select(*self._key, home="path")
        current = new.filter("current_flag").join(homes, on=self._key, how="left", maintain_order="left")
        for file in files:
            kept = self._read(file).join(gone, on=whose, how="anti", maintain_order="left")
            yield pl.concat([kept, current.filter(pl.col("home") == file["path"]).select(kept.columns)])
        yield current.filter(pl.col("home").is_null()).drop("home")
        yield new.filter(~pl.col("current_flag"))

    def _read(self, file: dict[str, Any], keys: pl.DataFrame | None = None) -> pl.DataFrame:
        """The rows of one file, of some keys where they are given."""
        frame = read_file(self._lake, self._spec, file)
        return frame if keys is None else frame.join(keys, on=self._key, how="semi")

    def _commit(self, data: Iterable[pl.DataFrame], files: Iterable[dict[str, Any]]) -> None:
        moved = {self._folded_id: self._log.rows, self._generation_id: self._log.generation}
        tables = [frame.to_arrow().cast(self._spec.schema) for frame in data if frame.height]
        paths = [file["path"] for file in files]
        self._lake.replace_files(self.handle, self._spec, tables, paths, moved, after=self._seen)
        self._seen = {**moved}

    def _holding(self, current: bool, keys: pl.DataFrame) -> Iterator[dict[str, Any]]:
        """Files that may hold a version of these keys, by their statistics."""
        first = self._key[0]
        wanted = keys[first].unique().sort().to_list()
        for file in files_of(self.handle):
            if file["partition.current_flag"] is not current or not wanted:
                continue
            low, high = file.get(f"min.{first}"), file.get(f"max.{first}")
            place = 0 if low is None else bisect_left(wanted, low)
            if place < len(wanted) and (high is None or wanted[place] <= high):
                yield file
