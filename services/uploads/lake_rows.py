"""Rows of one image in a table of the lake, found by day and id.

The table's handle is kept and brought up to date at most once a second, which costs less than opening it each time; a
day's partition and the files' statistics keep the scan small. What is read may be sealed: whether it may be opened is
the key store's to say, each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol

from resources.failures import TransientFailure
from resources.settings import Settings
from transforms.tables import TableSpec

FRESH_SECONDS = 1.0


class LakeAway(Exception):
    """The lake could not be read; transient."""


class Rows(Protocol):
    """The edge to one table of the lake."""

    def find(self, id: str, day: date) -> list[dict[str, Any]]:
        """The rows of an image; none where there is no row or no table yet. Raises LakeAway. Blocks.

        `day` is where to look first: a record appended more than a day off its envelope's day lies elsewhere.
        """
        ...


class LakeRows:
    """The real one. Thread-safe.

    Args:
        settings: where the lake is.
        spec: the table, which has columns `id` and `day`.
        columns: what is read of a row.
    """

    def __init__(self, settings: Settings, spec: TableSpec, columns: Sequence[str]) -> None:
        # Polars and deltalake cost a second of imports: paid at the first question, not before the first image.
        from resources.lake import open_lake

        self._lake = open_lake(settings)
        self._spec = spec
        self._columns = list(columns)
        self._lock = threading.Lock()
        self._handle = None
        self._refreshed = 0.0

    def find(self, id: str, day: date) -> list[dict[str, Any]]:
        """See `Rows.find`."""
        import polars as pl
        from deltalake.exceptions import DeltaError

        from resources.lake import TableMissing

        for attempt in (1, 2):
            try:
                with self._lock:
                    now = time.monotonic()
                    if self._handle is None:
                        self._handle, self._refreshed = self._lake.open(self._spec.name), now
                    elif now - self._refreshed > FRESH_SECONDS:
                        self._handle.update_incremental()
                        self._refreshed = now
                    rows = pl.scan_delta(self._handle)
                wanted = rows.filter(pl.col("id") == id).select(*self._columns)
                found = wanted.filter(pl.col("day") == day).collect()
                return (found if found.height else wanted.filter(pl.col("day") != day).collect()).to_dicts()
            except TableMissing:
                return []
            except (TransientFailure, DeltaError, OSError, pl.exceptions.PolarsError) as error:
                # Compaction and vacuum may have taken files from under the handle: once more, with a new one.
                with self._lock:
                    self._handle = None
                if attempt == 2:
                    raise LakeAway(f"Reading {self._spec.name} failed: {error}") from error
        return []
