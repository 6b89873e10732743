"""Tells the projection `image_status` what became of images; nothing depends on its being heard.

Mechanism: one call a chunk, after the chunk's commits stand. Limits: PostgreSQL may be away; then a warning is logged,
and the job `rebuild_status` fills the projection again from the lake (`resources.status_rebuild`). Only images that
came sealed are told: of the others nobody may ask, and the id they carry may be another image's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from resources.failures import TransientFailure
from resources.judging import Judged
from resources.postgres import StatusRow
from transforms.names import KeyName

_logger = logging.getLogger("darkroom.developing")


class StatusWriter(Protocol):
    """Where states of images are written; `resources.postgres.ImageStatus` is it."""

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        """Write states; raises TransientFailure where they cannot be written now."""
        ...


def tell(status: StatusWriter | None, judged: Judged) -> None:
    """Write states to the projection. It may be away: nothing depends on it, and it is filled again from the lake."""
    if status is None:
        return
    rows = [_processed(one.id, one.row["key"], one.row["pseudonym"]) for one in judged.good if one.sealed]
    rows += [_processed(one.id, one.key, one.pseudonym) for one in judged.resent if one.sealed]
    rows += [
        StatusRow(row["id"], KeyName.parse(row["key"]).day, row["pseudonym"], "quarantined", row["reason"])
        for row in (one.row for one in judged.refused)
        if row["id"] is not None and row["pseudonym"] is not None and row["key"] is not None
    ]
    if not rows:
        return
    try:
        status.put_many(rows)
    except TransientFailure as error:
        _logger.warning("%d image states were not written and will be filled in from the lake: %s", len(rows), error)


def _processed(id: str, key: str, pseudonym: str) -> StatusRow:
    # The key's day is the pseudonym's; the record's differs where it was appended more than a day off.
    return StatusRow(id, KeyName.parse(key).day, pseudonym, "processed")
