"""Tells the projection `image_status` what became of images; nothing depends on its being heard.

Mechanism: one call a chunk, after the chunk's commits stand. Limits: PostgreSQL may be away; then a warning is logged,
and the job `rebuild_status` fills the projection again from the lake (`resources.status_rebuild`). Only images that
came sealed are told: of the others nobody may ask, and the id they carry may be another image's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from resources.developed_rows import Good
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
    rows = [_processed_row(one) for one in judged.good if one.opened.sealed]
    rows += [StatusRow(one.id, one.key.day, one.pseudonym, "processed") for one in judged.resent if one.sealed]
    rows += [
        StatusRow(one.id, KeyName.parse(one.key).day, one.pseudonym, "quarantined", one.reason.value)
        for one in judged.refused
        if one.id is not None and one.pseudonym is not None and one.key is not None
    ]
    if not rows:
        return
    try:
        status.put_many(rows)
    except TransientFailure as error:
        _logger.warning("%d image states were not written and will be filled in from the lake: %s", len(rows), error)


def _processed_row(one: Good) -> StatusRow:
    # The key's day is the pseudonym's; the record's differs where it was appended more than a day off.
    return StatusRow(one.opened.id, one.opened.key.day, one.opened.pseudonym, "processed")
