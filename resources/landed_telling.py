"""Tells the projection `image_status` what has landed; nothing depends on its being heard.

Mechanism: after a landing, the keys of the new rows of bronze are read back, by partition and a bounded range of
offsets at a time. A door's record has the image's id as its key. Anyone who may write to the topic may write any key,
so a key only moves an image that a door accepted from accepted to landed, and never makes a row.

Limits: an image that is developed before its turn, or while PostgreSQL is away, is never seen as landed; the states
after it do not wait for that.
"""

from __future__ import annotations

import logging
from typing import Protocol

import polars as pl
from deltalake.exceptions import DeltaError

from resources.failures import TransientFailure
from resources.lake import Lake
from resources.landing import LandingResult
from transforms.names import ID, ID_CHARACTERS
from transforms.tables import RAW_IMAGES

OFFSETS_AT_ONCE = 20_000
_logger = logging.getLogger("darkroom.landing")


class LandedMarker(Protocol):
    """Where landed images are marked; `resources.postgres.ImageStatus` is it."""

    def mark_landed(self, ids: list[str]) -> int:
        """Move accepted images on; raises TransientFailure where that cannot be written now."""
        ...


def tell_landed(lake: Lake, status: LandedMarker, landed: LandingResult) -> int:
    """Mark what a run landed; returns how many images moved on. What is away costs a warning."""
    moved = 0
    ranges = [(p, part.start, part.last) for p, part in landed.partitions.items() if part.last is not None]
    if not ranges:
        return 0
    try:
        rows = pl.scan_delta(lake.open(RAW_IMAGES.name)).filter(pl.col("topic_id") == landed.topic_id)
        for partition, first, last in ranges:
            for start in range(first, last + 1, OFFSETS_AT_ONCE):
                within = pl.col("offset").is_between(start, min(start + OFFSETS_AT_ONCE - 1, last))
                # A key may have megabytes; only those that can be ids are held.
                short = pl.col("key").bin.size() == ID_CHARACTERS
                chosen = rows.filter((pl.col("partition") == partition) & within & short).select("key")
                keys = chosen.collect(engine="streaming")["key"]
                moved += status.mark_landed([id for id in map(_id_of, keys) if id is not None])
    except (TransientFailure, DeltaError, OSError, pl.exceptions.PolarsError) as error:
        # The landing stands already; reading it back must not fail it.
        _logger.warning("Images that landed were not marked so; developing writes their next state: %s", error)
    return moved


def _id_of(key: bytes | None) -> str | None:
    if key is None or len(key) != ID_CHARACTERS or not key.isascii():
        return None
    text = key.decode("ascii")
    return text if ID.fullmatch(text) else None
