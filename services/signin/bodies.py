"""What comes with a request to sign in: bounded bodies, forms, the machine's header; and OAuth's own refusal."""

from __future__ import annotations

import base64
import binascii
import json

from starlette.requests import Request
from starlette.responses import Response

from services.door.problems import Kind, Problem

LARGEST_BODY = 16 * 1024
_FORM = "application/x-www-form-urlencoded"


async def body_of(request: Request) -> bytes:
    """The body, bounded whatever it announces."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > LARGEST_BODY:
            raise Problem(Kind.BODY_TOO_LARGE, f"At most {LARGEST_BODY} bytes are taken here.")
    return bytes(found)


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name."""
    from urllib.parse import parse_qsl

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise Problem(Kind.MALFORMED, f"Send a form: {_FORM}.")
    try:
        return dict(parse_qsl((await body_of(request)).decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise Problem(Kind.MALFORMED, "The form cannot be read.") from None


def basic_of(authorization: str | None) -> tuple[str, str] | None:
    """Name and secret of HTTP Basic; None for another scheme, empty ones where it cannot be read."""
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, secret


def oauth_refusal(error: str, status: int) -> Response:
    """A refusal as RFC 6749 (5.2) has it."""
    headers = {"Cache-Control": "no-store"} | ({"WWW-Authenticate": 'Basic realm="darkroom"'} if status == 401 else {})
    return Response(json.dumps({"error": error}), status, headers, "application/json")
