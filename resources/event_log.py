"""A Delta table of events in order of arrival: each event has a number, and each commit moves the count with its rows.

The number (`arrival`, from 0 and without gaps) is what those who follow the log remember. A log may be begun anew, when
its source was replaced: its generation rises, the numbers go on, and whoever follows sees that it must build itself
anew. Exactly once rests on `resources.lake`: count and rows are one commit, through the handle that was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl
import pyarrow as pa

from resources.lake import Lake
from resources.lake_log import files_of
from transforms.table_spec import TableSpec


class EventLog:
    """The log as it was when opened, and what was appended since.

    Args:
        lake: the lake.
        spec: columns `arrival` (int64), `ts`, and those of the events; statistics on both; no partitions.

    Raises:
        TableMissing: there is no such table; `open_log` makes one.
    """

    def __init__(self, lake: Lake, spec: TableSpec) -> None:
        self.spec = spec
        self._lake = lake
        name = spec.name.split("/")[-1]
        self._rows_id, self._generation_id = f"{name}-rows", f"{name}-generation"
        self.handle = lake.open(spec.name)
        self._seen: dict[str, int | None] = {}
        self.rows = self.identifier(self._rows_id) or 0
        self.generation = self.identifier(self._generation_id) or 0

    @property
    def filled(self) -> bool:
        """Whether anything was ever taken in."""
        return self._seen[self._rows_id] is not None

    def identifier(self, app_id: str) -> int | None:
        """A transaction identifier as it was when first asked, or as this process moved it."""
        if app_id not in self._seen:
            self._seen[app_id] = self._lake.identifier(self.handle, app_id)
        return self._seen[app_id]

    def append(self, events: pl.DataFrame, sources: Mapping[str, int]) -> None:
        """Add events behind those that are there, and move the identifiers of their source, as one commit.

        Raises:
            CommitConflict: another writer was first; nothing stands.
        """
        for app_id in sources:
            self.identifier(app_id)
        moved = {**sources, self._rows_id: self.rows + events.height}
        self._lake.append(self.handle, self.spec, self._numbered(events), moved, after=self._seen)
        self._moved(moved)

    def restart(self, events: pl.DataFrame, sources: Mapping[str, int], reason: str) -> None:
        """Put `events` in the place of all that is there, as one commit; the generation rises.

        Raises:
            CommitConflict: another writer was first; nothing stands.
        """
        moved = {
            **sources,
            self._rows_id: self.rows + events.height,
            self._generation_id: self.generation + 1,
        }
        paths = [file["path"] for file in files_of(self.handle)]
        self._lake.replace_files(
            self.handle, self.spec, [self._numbered(events)], paths, moved, {"reason": reason}, after=self._seen
        )
        self.generation += 1
        self._moved(moved)

    def scan(self) -> pl.LazyFrame:
        """The events, in no particular order."""
        return pl.scan_delta(self.handle)

    def read(self, *conditions: pl.Expr) -> pl.DataFrame:
        """Events that meet the conditions, in order of arrival."""
        return self.collect(self.scan().filter(*conditions)).sort("arrival")

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a query over `scan`."""
        return self._lake.collect(frame, self.spec.name)

    def reaches(self, at: datetime, arrival: int) -> bool:
        """Whether one of the events before `arrival` may hold from `at` on or later; told by the log alone."""
        return any(
            file["max.ts"] is None or file["max.ts"] >= at
            for file in files_of(self.handle)
            if file["min.arrival"] is None or file["min.arrival"] < arrival
        )

    def _moved(self, identifiers: Mapping[str, int]) -> None:
        self._seen.update(identifiers)
        self.rows = identifiers[self._rows_id]

    def _numbered(self, events: pl.DataFrame) -> pa.Table:
        arrival = pl.int_range(self.rows, self.rows + pl.len(), dtype=pl.Int64).alias("arrival")
        return events.with_columns(arrival).select(self.spec.schema.names).to_arrow().cast(self.spec.schema)


def open_log(lake: Lake, spec: TableSpec) -> EventLog:
    """The log, made empty first if it is not there."""
    lake.ensure(spec)
    return EventLog(lake, spec)
