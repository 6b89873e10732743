"""GET /v1/images/{id}: where an image is, what it was named, and its thumbnail; for its uploader alone."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from access.principal import Principal
from resources.key_objects import KeyDestroyed, KeyUnavailable, UnknownKey
from resources.postgres import StatusRow, StatusUnavailable
from services.door.intake import keys_away
from services.door.problems import Kind, Problem
from services.uploads.common import Asker, door_of, problems_of
from services.uploads.lake_rows import LakeAway
from services.uploads.models import ImageState, Recognised
from services.uploads.recognitions import fresh, recognised, seconds_of
from services.uploads.wiring import UploadDoor
from transforms.envelope import EnvelopeError, open_field, pseudonym
from transforms.names import ID
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES

LOOK_AGAIN_SECONDS = 0.15
LOOK_SECONDS = 1.0
"""How often whoever waits for an answer looks whether the image was quarantined."""
_SENTENCES = {
    "accepted": "Kafka keeps the image; it waits to be landed.",
    "landed": "The image is in the lake; it waits to be developed.",
    "processed": "The image is developed.",
}

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get(
    "/{id}",
    summary="Where an image is, and what it was named",
    description="Only its uploader is told; to anyone else there is no such image. With `wait`, the answer comes as "
    "soon as a model has named the image or it is quarantined, and at the latest after that time.",
    response_model=ImageState,
    responses=problems_of(Kind.BAD_PARAMETER, Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.STATUS_AWAY, Kind.KEYS_AWAY),
)
async def state(
    request: Request,
    id: str,
    principal: Asker,
    wait: Annotated[
        str | None, Query(description="How long to wait for a model's answer, at most 30s; such as 2s or 500ms.")
    ] = None,
) -> ImageState:
    """Where an image is, and what it was named."""
    door, patience = door_of(request), seconds_of(wait)
    row = await own_image(door, principal, id)
    found = await _recognised(door, row, patience)
    if patience and not found:
        row = await own_image(door, principal, id)  # it may have gone on while it was waited for
    links = {"self": f"/v1/images/{row.id}"}
    if row.state == "processed":
        links["thumbnail"] = f"/v1/images/{row.id}/thumbnail"
    detail = _SENTENCES[row.state] if row.reason is None else _sentence_of(row.reason)
    return ImageState(
        id=row.id,
        day=row.day,
        state=row.state,  # pyrefly: ignore[bad-argument-type]  # StatusRow checks it against the same four
        reason=row.reason,
        detail=detail,
        updated_at=row.updated_at,
        recognised=found,
        links=links,
    )


@router.get(
    "/{id}/thumbnail",
    summary="An image's thumbnail",
    description="WebP, at most 256 pixels a side, no metadata; for its uploader only, once the image is developed.",
    response_class=Response,
    responses={
        200: {
            "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
            "description": "The thumbnail.",
        },
        **problems_of(Kind.UNAUTHENTICATED, Kind.NOT_FOUND, Kind.KEY_DESTROYED, Kind.STATUS_AWAY, Kind.KEYS_AWAY),
    },
)
async def thumbnail(request: Request, id: str, principal: Asker) -> Response:
    """An image's thumbnail."""
    door = door_of(request)
    row = await own_image(door, principal, id)
    if row.state != "processed":
        raise Problem(Kind.NOT_FOUND, f"There is no thumbnail: the image is {row.state}.")
    opened = await door.ask(lambda: _opened(door, row))
    return Response(opened, media_type="image/webp", headers={"Cache-Control": "private, no-store"})


async def _recognised(door: UploadDoor, row: StatusRow, patience: float) -> list[Recognised] | None:
    """What models named the image; where there is nothing, the first answer that comes within `patience` seconds."""
    # Listening first: what comes while the kept answers are looked at is not missed.
    with door.answers.listening(lambda one: one.clear.id == row.id and one.pseudonym == row.pseudonym) as listener:
        found = await door.ask(lambda: recognised(door, row))
        if found or not patience or row.state == "quarantined":
            return found
        try:
            async with asyncio.timeout(patience):
                while not found:
                    if await listener.came(LOOK_SECONDS):
                        listener.found.clear()
                        found = await door.ask(lambda: fresh(door, row))
                    elif await door.ask(lambda: _ended(door, row)):
                        return []
        except TimeoutError:
            return []
    return found


def _ended(door: UploadDoor, row: StatusRow) -> bool:
    """Whether the image was quarantined meanwhile, so that nothing is to be waited for."""
    try:
        now = door.edges.status.get(row.id)
    except StatusUnavailable:
        return False
    return now is not None and now.state == "quarantined"


async def own_image(door: UploadDoor, principal: Principal, id: str) -> StatusRow:
    """The state of an image of this uploader.

    Looks twice, for another instance may be about to write it; an image of someone else takes as long as none at all.
    """
    missing = Problem(Kind.NOT_FOUND, "You have no image of this id.")
    if not ID.fullmatch(id):
        raise missing
    for pause in (LOOK_AGAIN_SECONDS, 0.0):
        row = await door.ask(lambda: _look(door, principal, id))
        if row is not None:
            return row
        await asyncio.sleep(pause)
    raise missing


def _look(door: UploadDoor, principal: Principal, id: str) -> StatusRow | None:
    row = door.writer.waiting(id)
    try:
        row = door.edges.status.get(id) or row
    except StatusUnavailable as error:
        if row is None:
            raise Problem(
                Kind.STATUS_AWAY,
                "Images are still taken; where they are can be asked later.",
                retry_after=5,
                log=str(error),
            ) from error
    if row is None:
        return None
    try:
        mine = pseudonym(door.edges.keys.platform_secret(), principal.subject, row.day)
    except KeyUnavailable as error:
        raise keys_away(error) from error
    return row if hmac.compare_digest(mine, row.pseudonym) else None


def _opened(door: UploadDoor, row: StatusRow) -> bytes:
    try:
        found = [one for one in door.processed.find(row.id, row.day) if one["thumbnail"] is not None]
        if not found:
            raise Problem(Kind.NOT_FOUND, "The lake has no thumbnail of this image.")
        key = door.edges.keys.open_key(found[0]["key"])
        # The key's day and not the row's: they differ for a record appended more than a day off.
        return open_field(
            found[0]["thumbnail"], table=PROCESSED_IMAGES.name, column="thumbnail", id=row.id, day=key.day, key=key
        )
    except LakeAway as error:
        raise Problem(
            Kind.STATUS_AWAY, "The lake cannot be read now. Try again.", retry_after=5, log=str(error)
        ) from error
    except KeyDestroyed:
        raise Problem(Kind.KEY_DESTROYED, "It cannot be opened again, by anyone.") from None
    except KeyUnavailable as error:
        raise keys_away(error) from error
    except (UnknownKey, EnvelopeError) as error:
        raise Problem(
            Kind.INTERNAL, "The thumbnail does not open; the operator finds why in the log.", log=_kind_of(error)
        ) from error


def _kind_of(error: UnknownKey | EnvelopeError) -> str:
    """What an operator may read: the sentences of these errors name image and pseudonym."""
    return f"{type(error).__name__} {error.reason if isinstance(error, EnvelopeError) else ''}".strip()


def _sentence_of(reason: str) -> str:
    try:
        return Reason(reason).sentence
    except ValueError:
        return "The image was quarantined by a newer release, for a reason this one does not know."
