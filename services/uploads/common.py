"""What the routes under /v1 share: the running application, who asks, and how refusals stand in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from access.principal import Principal
from services.door.bearer import proof_of
from services.door.models import ProblemDocument
from services.door.problems import Kind
from services.door.rendering import MEDIA_TYPE
from services.uploads.wiring import UploadDoor

_bearer = HTTPBearer(
    auto_error=False, bearerFormat="JWT", description="A token of the issuer: ES256, with sub and groups."
)


def problems_of(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The answers that these problems are, for OpenAPI."""
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.status, []).append(kind.title)
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {
            "model": ProblemDocument,
            "description": "; ".join(found) + ".",
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, found in titles.items()
    }


def door_of(request: Request) -> UploadDoor:
    """The running application's parts."""
    return request.app.state.door


async def principal_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who asks, by the signed token and nothing else.

    Raises:
        Problem: UNAUTHENTICATED or TOKENS_AWAY.
    """
    return proof_of(door_of(request).edges.verifier, None if credentials is None else credentials.credentials).principal


Asker = Annotated[Principal, Depends(principal_of)]
"""A parameter of this type is who asks."""
