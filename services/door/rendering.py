"""Problems as HTTP answers: application/problem+json (RFC 9457), whatever went wrong and wherever."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.door.problems import Kind, Problem

log = logging.getLogger("darkroom.problems")

MEDIA_TYPE = "application/problem+json"
_KIND_OF_STATUS = {404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED}


def install(app: FastAPI) -> None:
    """Have every refusal of the application rendered here."""
    app.exception_handler(Problem)(_problem)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_validation)


def instance_of(request: Request) -> str:
    """The name of this one request, as `instance` and the log say it."""
    return f"urn:uuid:{request.scope.get('darkroom.request', 'none')}"


def told(number: str | None, problem: Problem) -> None:
    """Log what only the operator may know about a problem of the request or connection of this number."""
    if problem.log is not None:
        fields = {"request": number, "problem": problem.kind.code, "why": problem.log}
        log.warning("refused", extra={"fields": fields})


def headers_of(problem: Problem) -> dict[str, str]:
    """The headers that an answer with this problem has."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="darkroom"'
    return headers


def render(request: Request, problem: Problem) -> JSONResponse:
    """The answer for a problem."""
    told(request.scope.get("darkroom.request"), problem)
    return JSONResponse(
        problem.document(instance_of(request)),
        status_code=problem.kind.status,
        headers=headers_of(problem),
        media_type=MEDIA_TYPE,
    )


async def _problem(request: Request, error: Problem) -> Response:
    return render(request, error)


async def _http(request: Request, error: HTTPException) -> Response:
    kind = _KIND_OF_STATUS.get(error.status_code, Kind.MALFORMED if error.status_code < 500 else Kind.INTERNAL)
    detail = {
        Kind.NOT_FOUND: "Nothing is at this address. The API is described at /docs.",
        Kind.METHOD_NOT_ALLOWED: "The methods that are taken are in the header Allow.",
    }.get(kind, "The request was refused.")
    response = render(request, Problem(kind, detail))
    if allow := (error.headers or {}).get("allow") or (error.headers or {}).get("Allow"):
        response.headers["Allow"] = allow
    return response


async def _validation(request: Request, error: RequestValidationError) -> Response:
    places = ", ".join(".".join(str(part) for part in found["loc"]) for found in error.errors())
    return render(request, Problem(Kind.BAD_PARAMETER, f"These parts of the request cannot be read: {places}."))
