"""POST /v1/images: one image, or several."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from access.principal import Principal
from services.door.intake import Accepted, Submission
from services.door.problems import Kind, Problem
from services.door.rendering import instance_of, told
from services.door.sniff import TAKEN
from services.door.wiring import Door
from services.uploads.common import Asker, door_of, problems_of
from services.uploads.models import AcceptedImage, SeveralImages
from services.uploads.reading import MOST_FILES, TOTAL_IMAGES, Part, read_image, read_parts

VIA = "uploads"
FILES_AT_ONCE = 8
"""Files of one request that wait for Kafka at a time, while the next is read."""

router = APIRouter(prefix="/v1/images", tags=["images"])


_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {
            "schema": {"type": "string", "format": "binary", "description": "The image's bytes."}
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}
_PARAMETERS = [
    {
        "name": "X-Label",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": 256},
        "description": "What the image shows, as UTF-8 text. In a multipart body each part may have its own.",
    },
    {
        "name": "X-Uploaded-At",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "format": "date-time"},
        "description": "When the image was first sent; repeat it in a resend, so that the image keeps its day and id. "
        "At most 24 hours old and 5 minutes ahead.",
    },
]


@router.post(
    "",
    status_code=201,
    summary="Send images",
    description="The body is one image, or a multipart form with one or more parts named `file` "
    f"(at most {MOST_FILES}, and {TOTAL_IMAGES} times the largest image together). Taken are {TAKEN}, known by their "
    "content. The answer comes after the broker acknowledged. One file: 201 or its problem; several: 207 with one "
    "entry a file. Sending again is harmless: the same image, uploader and day give the same id, developed once.",
    response_model=AcceptedImage,
    responses={
        207: {"model": SeveralImages, "description": "Several files: one result or problem a file, in order."},
        **problems_of(
            Kind.EMPTY,
            Kind.BAD_PARAMETER,
            Kind.MALFORMED,
            Kind.UNAUTHENTICATED,
            Kind.TOO_SLOW,
            Kind.DAY_DESTROYED,
            Kind.TOO_LARGE,
            Kind.TOO_MANY_FILES,
            Kind.NOT_AN_IMAGE,
            Kind.UNSUPPORTED_FORMAT,
            Kind.KAFKA_AWAY,
            Kind.KEYS_AWAY,
            Kind.TOKENS_AWAY,
            Kind.BUSY,
        ),
    },
    openapi_extra={"requestBody": _BODY, "parameters": _PARAMETERS},
)
async def send(request: Request, principal: Asker) -> Response:
    """Take one image, or several."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await _several(request, principal)
    door = door_of(request)
    with door.budget.lease() as lease:
        try:
            image = await read_image(request, door.settings.max_image_bytes, lease)
            given = dict(request.headers.raw)
            accepted = await door.intake.accept(
                principal, Submission(image, VIA, given.get(b"x-label"), None, _text(given.get(b"x-uploaded-at")))
            )
        except Problem as problem:
            door.metrics.count(problem)
            raise
    door.metrics.count(accepted)
    return _taken(accepted)


async def _several(request: Request, principal: Principal) -> Response:
    door = door_of(request)
    taking: list[tuple[str | None, asyncio.Task[Accepted]]] = []
    ended: Problem | None = None
    try:
        async with aclosing(read_parts(request, door.settings.max_image_bytes, door.budget)) as parts:
            async for part in parts:
                under_way = [task for _, task in taking if not task.done()]
                if len(under_way) >= FILES_AT_ONCE:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                filename, given = part.filename, dict(request.headers.raw) | dict(part.headers)
                taking.append((filename, asyncio.create_task(_take(door, principal, part, given))))
    except Problem as problem:
        ended = problem
    except ClientDisconnect:
        await asyncio.gather(*(task for _, task in taking), return_exceptions=True)
        raise
    outcomes = await asyncio.gather(*(task for _, task in taking), return_exceptions=True)
    results: list[tuple[str | None, Accepted | Problem]] = []
    for (filename, _), outcome in zip(taking, outcomes, strict=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, Problem):
            raise outcome
        results.append((filename, outcome))
    if not results and ended is None:
        ended = Problem(Kind.EMPTY, "The form has no part named `file`. Send each image as a part of that name.")
    if ended is not None:
        # What was taken before it stays taken and is told; the problem stands where reading ended.
        results.append((None, ended))
    for _, outcome in results:
        door.metrics.count(outcome)
    if len(results) > 1:
        return JSONResponse({"results": [_entry(request, *result) for result in results]}, status_code=207)
    only = results[0][1]
    if isinstance(only, Problem):
        raise only
    return _taken(only)


async def _take(door: Door, principal: Principal, part: Part, given: dict[bytes, bytes]) -> Accepted:
    with part.lease:
        if part.problem is not None:
            raise part.problem
        image, part.body = part.body, b""
        return await door.intake.accept(
            principal,
            Submission(image, VIA, given.get(b"x-label"), part.filename, _text(given.get(b"x-uploaded-at"))),
        )


def _entry(request: Request, filename: str | None, outcome: Accepted | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        told(request.scope.get("darkroom.request"), outcome)
        return {**outcome.document(instance_of(request)), "filename": filename}
    return {"status": 201, "filename": filename, **outcome.document()}


def _taken(accepted: Accepted) -> Response:
    return JSONResponse(accepted.document(), status_code=201, headers={"Location": f"/v1/images/{accepted.id}"})


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")
