"""A service behind the gateway: the client's address and the request's number are what the gateway says.

Both come as headers, which anybody may write. They are believed because TLS lets nobody but the gateway in (the
launcher's `--client-ca`), and of the addresses only the last, which the gateway itself appended. Who the user is comes
from the signed token alone, here as everywhere.
"""

from __future__ import annotations

import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

NUMBER = "darkroom.request"


class BehindGateway:
    """ASGI middleware around the whole application of a service that only the gateway reaches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            address = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            scope = {**scope, NUMBER: _number(headers.get("x-request-id"))}
            if address:
                scope["client"] = (address, 0)
        await self._app(scope, receive, send)


def number_of(scope: Scope) -> str:
    """The request's number: the gateway's where it gave one, else a new one."""
    return scope.get(NUMBER) or str(uuid.uuid4())


def _number(text: str | None) -> str | None:
    try:
        return str(uuid.UUID(text or ""))
    except ValueError:
        return None
