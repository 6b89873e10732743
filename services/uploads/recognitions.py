"""What models named an image, for its uploader: from the sub-second lane while it is fresh, else from the lake."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from resources.key_objects import KeyDestroyed, KeyUnavailable, UnknownKey
from resources.postgres import StatusRow
from services.door import answers
from services.door.intake import keys_away
from services.door.problems import Kind, Problem
from services.uploads.lake_rows import LakeAway
from services.uploads.models import Recognised
from services.uploads.wiring import UploadDoor
from transforms.envelope import EnvelopeError, open_field
from transforms.tables import RECOGNISED_IMAGES

log = logging.getLogger(__name__)

LONGEST_SECONDS = 30.0
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s)?")


def seconds_of(wait: str | None) -> float:
    """How long the asker is ready to wait, in seconds; 0 where nothing is said.

    Raises:
        Problem: BAD_PARAMETER, for no duration, or one over 30 s.
    """
    found = _DURATION.fullmatch(wait or "0")
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise Problem(
            Kind.BAD_PARAMETER, f"`wait` is no duration of 0 to {LONGEST_SECONDS:g} seconds; one is 2s, 1.5s or 500ms."
        )
    return seconds


def fresh(door: UploadDoor, row: StatusRow) -> list[Recognised]:
    """What the sub-second lane named an image lately, the newest of each model. Blocks.

    Raises:
        Problem: KEYS_AWAY.
    """
    try:
        found = [answers.opened(door.edges.keys, one) for one in door.answers.of(row.id, row.pseudonym)]
    except KeyUnavailable as error:
        raise keys_away(error) from error
    return _newest(
        Recognised(
            model=one.model,
            model_version=one.model_version,
            label=one.label,
            probability=one.probability,
            scored_at=one.scored_at,
        )
        for one in found
        if one is not None
    )


def recognised(door: UploadDoor, row: StatusRow) -> list[Recognised] | None:
    """What models named an image, the newest of each. The lake is asked where the topic has nothing fresh. Blocks.

    Returns:
        None where the lake cannot be read now.

    Raises:
        Problem: KEYS_AWAY.
    """
    found = fresh(door, row)
    if found or row.state != "processed":
        return found
    try:
        stored = door.recognised.find(row.id, row.day)
    except LakeAway as error:
        log.warning("the lake could not be asked what an image was named: %s", error)
        return None
    return _newest(one for one in (_opened(door, row, each) for each in stored) if one is not None)


def _opened(door: UploadDoor, row: StatusRow, stored: dict) -> Recognised | None:
    if stored["pseudonym"] != row.pseudonym or stored["label"] is None:
        return None
    try:
        key = door.edges.keys.open_key(stored["key"])
        label = open_field(
            stored["label"], table=RECOGNISED_IMAGES.name, column="label", id=row.id, day=key.day, key=key
        )
    except (KeyDestroyed, UnknownKey, EnvelopeError):
        return None
    except KeyUnavailable as error:
        raise keys_away(error) from error
    return Recognised(
        model=stored["model"],
        model_version=stored["model_version"],
        label=label.decode(),
        probability=stored["probability"],
        scored_at=stored["scored_at"],
    )


def _newest(found: Iterable[Recognised]) -> list[Recognised]:
    by_model: dict[str, Recognised] = {}
    for one in sorted(found, key=lambda one: one.scored_at):
        by_model[one.model] = one
    return list(by_model.values())
