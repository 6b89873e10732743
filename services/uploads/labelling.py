"""PUT /v1/images/{id}/label: an image's uploader puts its label right.

The correction is sealed under the very key that sealed the image, and under no other: whoever destroys that key, for a
person's erasure of a day or with the day, makes the correction dark too, and one that comes later finds no key to be
sealed with. Which key that is, the key store knows by itself for as long as no key of that uploader's day was destroyed
(`Keys.first_key`): all of the day is sealed with it. After an erasure only the lake can say, and an image that it has
no row of gets no correction.

What is answered 202 is in Kafka, keyed by the image's id, so that all corrections of an image are in one partition and
the last one counts. Limit: a correction answered 503 may still arrive, even after one that was sent later.
"""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import Future
from typing import Any, NoReturn

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from access.principal import Principal
from resources.key_objects import KeyDestroyed, KeyUnavailable, UnknownKey
from resources.postgres import StatusRow
from services.door.delivery import Delivery
from services.door.given import MAX_LABEL_CHARACTERS, label_of
from services.door.intake import ACKNOWLEDGEMENT_SECONDS, keys_away
from services.door.problems import Kind, Problem
from services.uploads.asking import own_image
from services.uploads.common import Asker, door_of, problems_of
from services.uploads.lake_rows import LakeAway
from services.uploads.models import AcceptedLabel, CorrectedLabel
from services.uploads.reading import read_whole
from services.uploads.wiring import UploadDoor
from transforms.envelope import NONCE_BYTES
from transforms.messages import Correction, seal_correction
from transforms.names import DataKey, KeyName

VIA = "uploads"
LARGEST_BODY = 8192
"""Bytes; 256 characters of JSON, each escaped as a pair of \\uXXXX, are 3 kB."""

_ASKED = 'The body is one JSON object with the label and nothing else, such as {"label": "7"}.'
_NOT_IN_TIME = "Kafka did not acknowledge the label in time. Send it again: the last one counts."

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.put(
    "/{id}/label",
    status_code=202,
    summary="Put an image's label right",
    description="Only by its uploader; to anyone else there is no such image. The answer comes after the broker "
    "acknowledged. The correction wins over the label that the image was sent with, from the next training set on; "
    "of several the last one counts, and the same again is harmless. An image that is not developed yet, or is "
    "quarantined, may be labelled too: the label counts if and when it becomes an image that is learned from.",
    response_model=AcceptedLabel,
    responses=problems_of(
        Kind.BAD_PARAMETER,
        Kind.MALFORMED,
        Kind.UNAUTHENTICATED,
        Kind.NOT_FOUND,
        Kind.TOO_SLOW,
        Kind.KEY_DESTROYED,
        Kind.BODY_TOO_LARGE,
        Kind.KAFKA_AWAY,
        Kind.KEYS_AWAY,
        Kind.TOKENS_AWAY,
        Kind.STATUS_AWAY,
        Kind.BUSY,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {**CorrectedLabel.model_json_schema()}}},
        }
    },
)
async def label(request: Request, id: str, principal: Asker) -> Response:
    """Put an image's label right."""
    door = door_of(request)
    try:
        given = await _read(request, door)
        row = await _correctable(door, principal, id)
        correction = await _keep(door, row, given)
    except Problem as problem:
        door.labels.labels(problem.kind.code).inc()
        raise
    door.labels.labels("accepted").inc()
    told = {"id": id, "topic": correction.topic, "partition": correction.partition, "offset": correction.offset}
    return JSONResponse(told, status_code=202)


async def _correctable(door: UploadDoor, principal: Principal, id: str) -> StatusRow:
    """The image, if this principal may put its label right: today its uploader; other groups, once the policy has any,
    are let in here."""
    return await own_image(door, principal, id)


async def _read(request: Request, door: UploadDoor) -> str:
    """The label in the body."""
    too_large = Problem(Kind.BODY_TOO_LARGE, f"The body has more than {LARGEST_BODY} bytes. {_ASKED}")
    with door.budget.lease() as lease:
        body = await read_whole(request, LARGEST_BODY, too_large, lease)
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a name twice, or a tower of brackets
        raise Problem(Kind.MALFORMED, f"The body cannot be read as JSON in UTF-8, each name once. {_ASKED}") from None
    if not isinstance(found, dict) or set(found) != {"label"}:
        raise Problem(Kind.BAD_PARAMETER, f"The body is JSON, and something else was wanted. {_ASKED}")
    if not isinstance(found["label"], str):
        raise Problem(Kind.BAD_PARAMETER, f"The label is no text; numbers too stand in quotes. {_ASKED}")
    given = label_of(found["label"])
    if given is None:
        raise Problem(
            Kind.BAD_PARAMETER,
            f"The label is empty; one is a line of 1 to {MAX_LABEL_CHARACTERS} characters. A label can be put right, "
            "and not taken away.",
        )
    return given


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


async def _keep(door: UploadDoor, row: StatusRow, given: str) -> Delivery:
    """Seal the label and hand it to Kafka; returns once the broker has acknowledged it."""
    try:
        handed = await door.ask(lambda: _hand_over(door, row, given))
        return await asyncio.wait_for(asyncio.wrap_future(handed), ACKNOWLEDGEMENT_SECONDS)
    except TimeoutError:
        raise Problem(Kind.KAFKA_AWAY, _NOT_IN_TIME, retry_after=5) from None
    except Problem as problem:
        if problem.kind is not Kind.KAFKA_AWAY:
            raise
        raise Problem(problem.kind, _NOT_IN_TIME, retry_after=problem.retry_after, log=problem.log) from None


def _hand_over(door: UploadDoor, row: StatusRow, given: str) -> Future[Delivery]:
    try:
        key = _key_of(door, row)
        if row.id in door.edges.keys.erased_ids(key.day):
            _gone()
    except KeyUnavailable as error:
        raise keys_away(error) from error
    correction = Correction(row.id, key.day, given, door.now())
    headers, value = seal_correction(correction, key, VIA, os.urandom(NONCE_BYTES))
    return door.edges.deliverer.submit(row.id.encode(), value, headers, door.settings.labels_topic)


def _key_of(door: UploadDoor, row: StatusRow) -> DataKey:
    """The key that sealed the image."""
    keys = door.edges.keys
    try:
        return keys.first_key(row.day, row.pseudonym)
    except KeyDestroyed:
        pass  # this image may have been sent after that erasure, under a later key
    except UnknownKey as error:
        raise Problem(
            Kind.INTERNAL,
            "The image's key is not to be found; the operator finds why in the log.",
            log=type(error).__name__,
        ) from error
    try:
        found = door.processed.find(row.id, row.day)
    except LakeAway as error:
        raise Problem(
            Kind.STATUS_AWAY, "The lake cannot be read now. Try again.", retry_after=5, log=str(error)
        ) from error
    names = [one["key"] for one in found if KeyName.parse(one["key"]).pseudonym == row.pseudonym]
    if not names:
        _gone()
    try:
        return keys.open_key(names[0])
    except (KeyDestroyed, UnknownKey):
        _gone()


def _gone() -> NoReturn:
    raise Problem(
        Kind.KEY_DESTROYED,
        "What was said of it cannot be kept any more. If you sent the image again since, try once it is developed.",
    )
