"""One table that remembers, in its own commits, how far it followed its input: what every derived table shares.

Mechanism: each commit carries the last offset taken in per Kafka partition, and moves the identifier `<table>-writer`
by one through the handle it was looked up with. Of two writers that looked at the same state one conflicts, instead of
doubling rows; it opens the table anew and looks again. Which rows are already there is for the caller to know
(`resources.derived_tables`, `resources.following`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from resources.lake import CommitConflict, Lake
from resources.lake_failures import first_line
from transforms.landing_protocol import Position
from transforms.tables import TableSpec


class TrackedTable:
    """A handle on a derived table, made where there is none.

    Raises (every method): TransientFailure where the lake is away or another writer was first (`CommitConflict`);
    after a conflict call `refresh` and try again.
    """

    def __init__(self, lake: Lake, spec: TableSpec, app_id: Callable[[Position], str]) -> None:
        """Args: app_id: the identifier under which a partition's last offset is kept."""
        self._lake = lake
        self.spec = spec
        self._app_id = app_id
        self._writer = f"{spec.name.split('/')[-1]}-writer"
        self.commits = 0
        self.refresh()

    def refresh(self) -> None:
        """Open the table as it is now."""
        self.handle: DeltaTable = self._lake.ensure(self.spec)
        self._seen = self._lake.identifier(self.handle, self._writer)

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a query over the table."""
        return self._lake.collect(frame, self.spec.name)

    def last(self, at: Position) -> int:
        """The last offset taken in of a partition; -1 for none."""
        found = self._lake.identifier(self.handle, self._app_id(at))
        return -1 if found is None else found

    def ahead(self, positions: Mapping[Position, int]) -> dict[str, int]:
        """The identifiers that would move forward; the others stand as they are."""
        return {self._app_id(at): offset for at, offset in positions.items() if offset > self.last(at)}

    def append(self, rows: pa.Table | None, positions: Mapping[Position, int]) -> bool:
        """Add rows and move the offsets, as one commit; nothing is committed where there is nothing new."""
        identifiers = self.ahead(positions)
        if not identifiers and (rows is None or not rows.num_rows):
            return False
        writer = (self._seen or 0) + 1
        after = {self._writer: self._seen}
        self._lake.append(self.handle, self.spec, rows, {**identifiers, self._writer: writer}, after=after)
        self._committed(writer)
        return True

    def replace_days(self, rows: pa.Table | None, days: Sequence[date], positions: Mapping[Position, int]) -> None:
        """Put `rows` in the place of all rows of `days`, and move the offsets, as one commit."""
        writer = (self._seen or 0) + 1
        self._refuse_moved()
        self._lake.replace_days(self.handle, self.spec, rows, days, {**self.ahead(positions), self._writer: writer})
        self._committed(writer)

    def replace_files(self, data: Sequence[pa.Table], paths: Sequence[str]) -> None:
        """Put rows in the place of files, as one commit; moves no offset."""
        writer = (self._seen or 0) + 1
        self._refuse_moved()
        self._lake.replace_files(self.handle, self.spec, data, paths, {self._writer: writer})
        self._committed(writer)

    def _refuse_moved(self) -> None:
        found = self._lake.identifier(self.handle, self._writer)
        if found != self._seen:
            raise CommitConflict(
                f"Table {self.spec.name}: identifier {self._writer} is {found}, and the rows at hand continue from "
                f"{self._seen}: another writer committed. Nothing was written; open the table again.",
                {"table": self.spec.name, "identifier": self._writer},
            )

    def delete(self, predicate: str) -> None:
        """Remove rows by a predicate of values from the table itself; moves no offset."""
        # As for every commit of the lake: a hook that fails would report one as failed that stands.
        quiet = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        with self._lake.named(f"remove rows of table {self.spec.name}"):
            try:
                self.handle.delete(predicate, post_commithook_properties=quiet)
            except CommitFailedError as error:
                raise CommitConflict(
                    f"Table {self.spec.name}: another writer changed the rows to be removed: {first_line(error)}. "
                    "Nothing was removed; look again.",
                    {"table": self.spec.name},
                ) from error
        self.commits += 1

    def _committed(self, writer: int) -> None:
        self._seen = writer
        self.commits += 1
