"""What the routes under /v1 share: the running application, who asks, and how refusals stand in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from access.principal import Principal
from access.tokens import JwksUnavailable, TokenRefused
from services.door.problems import Kind, Problem
from services.uploads.models import ProblemDocument
from services.uploads.problems import MEDIA_TYPE
from services.uploads.wiring import Door

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


def door_of(request: Request) -> Door:
    """The running application's parts."""
    return request.app.state.door


async def principal_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who asks, by the signed token and nothing else.

    Raises:
        Problem: UNAUTHENTICATED or TOKENS_AWAY; why is for the log only, so that nobody learns to forge by asking.
    """
    detail = "Send a token of the issuer as `Authorization: Bearer <token>`."
    if credentials is None:
        raise Problem(Kind.UNAUTHENTICATED, detail, log="no bearer token")
    try:
        return door_of(request).edges.verifier.verify(credentials.credentials)
    except TokenRefused as error:
        raise Problem(Kind.UNAUTHENTICATED, detail, log=error.detail) from None
    except JwksUnavailable as error:
        raise Problem(
            Kind.TOKENS_AWAY, "The issuer's keys cannot be read here. Try again.", retry_after=5, log=str(error)
        ) from error


Asker = Annotated[Principal, Depends(principal_of)]
"""A parameter of this type is who asks."""
