"""Thumbnails for their uploaders: found in the lake by day and id, and opened here, in memory.

The table's handle is kept and brought up to date at most once a second, which costs less than opening it each time; a
day's partition and the files' statistics keep the scan small. What is read is sealed: whether it may be opened is the
key store's to say, each time.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from resources.failures import TransientFailure
from resources.settings import Settings
from transforms.tables import PROCESSED_IMAGES

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0


@dataclass(frozen=True)
class SealedThumbnail:
    """A thumbnail as the table holds it, and the name of the data key that opens it."""

    key: str
    sealed: bytes


class LakeAway(Exception):
    """The lake could not be read; transient."""


class Thumbnails(Protocol):
    """The edge to the lake."""

    def find(self, id: str, day: date) -> SealedThumbnail | None:
        """The sealed thumbnail of an image, None where there is none yet; raises LakeAway. Blocks.

        `day` is where to look first: a record appended more than a day off its envelope's day lies elsewhere.
        """
        ...


class LakeThumbnails:
    """The real one. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        # Polars and deltalake cost a second of imports: paid at the first thumbnail, not before the first image.
        from resources.lake import open_lake

        self._lake = open_lake(settings)
        self._lock = threading.Lock()
        self._handle = None
        self._refreshed = 0.0

    def find(self, id: str, day: date) -> SealedThumbnail | None:
        """See `Thumbnails.find`."""
        import polars as pl
        from deltalake.exceptions import DeltaError

        from resources.lake import TableMissing

        for attempt in (1, 2):
            try:
                with self._lock:
                    if self._handle is None:
                        self._handle = self._lake.open(PROCESSED_IMAGES.name)
                    elif time.monotonic() - self._refreshed > FRESH_SECONDS:
                        self._handle.update_incremental()
                    self._refreshed = time.monotonic()
                    rows = pl.scan_delta(self._handle)
                wanted = rows.filter(pl.col("id") == id).select("day", "key", "thumbnail")
                found = wanted.filter(pl.col("day") == day).limit(1).collect()
                if found.is_empty():
                    found = wanted.filter(pl.col("day") != day).limit(1).collect()
            except TableMissing:
                return None
            except (TransientFailure, DeltaError, OSError, pl.exceptions.PolarsError) as error:
                # Compaction and vacuum may have taken files from under the handle: once more, with a new one.
                with self._lock:
                    self._handle = None
                if attempt == 2:
                    raise LakeAway(f"Reading {PROCESSED_IMAGES.name} failed: {error}") from error
                continue
            if found.is_empty():
                return None
            _, key, sealed = found.row(0)
            return None if sealed is None else SealedThumbnail(key, sealed)
        return None
