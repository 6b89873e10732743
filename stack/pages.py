"""What stands before the pages of programs that know no users: their own site alone, and a signed token.

They are behind the gateway, on a Unix socket of their owner; what the gateway let through is judged here again, by the
token alone.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from access.principal import Principal
from services.door.bearer import Verifier, bearer_of, proof_of
from services.door.problems import Problem
from services.door.rendering import MEDIA_TYPE, headers_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Admit = Callable[[Principal, "Scope"], Mapping[str, Any]]
"""What to note in the scope of a request of somebody; raises Problem for who may not."""


class SameSite:
    """Refuses a request or socket that a page of another origin sent (browsers name it, RFC 6454)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what has no `Origin`, or this very server's."""
        headers = [(name, value.decode("latin-1")) for name, value in scope.get("headers", ())]
        hosts = [value for name, value in headers if name == b"host"]
        if all(urlsplit(value).netloc in hosts for name, value in headers if name == b"origin"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.responses import PlainTextResponse

        text = "This web server takes requests of its own pages only.\n"
        await PlainTextResponse(text, status_code=403)(scope, receive, send)


class Signed:
    """ASGI middleware: lets nobody through without a token of somebody who is admitted.

    Args:
        open_path: the one path that needs none, by which the gateway sees that the program is there.
    """

    def __init__(self, app: ASGIApp, verifier: Verifier, open_path: str, admit: Admit) -> None:
        self._app = app
        self._verifier = verifier
        self._open = open_path
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] in ("http", "websocket"):
            # The gateway speaks TLS, and an address that is made of this must too.
            scope = {**scope, "scheme": "https" if scope["type"] == "http" else "wss"}
        if scope["type"] in ("http", "websocket") and scope["path"] != self._open:
            try:
                scope = {**scope, **self._judge(scope)}
            except Problem as problem:
                await refuse(problem, scope, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, scope: Scope) -> Mapping[str, Any]:
        headers = dict(scope["headers"])
        token = bearer_of(headers.get(b"authorization", b"").decode("latin-1"))
        return self._admit(proof_of(self._verifier, token).principal, scope)


async def refuse(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer a problem, to a request or to a handshake."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": problem.kind.code})
        return
    body = json.dumps(problem.document()).encode()
    headers = {**headers_of(problem), "content-type": MEDIA_TYPE, "content-length": str(len(body))}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def listen_locally(uds: Path) -> socket.socket:
    """A Unix socket for its owner alone, whatever was there before."""
    uds.unlink(missing_ok=True)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(str(uds))
    os.chmod(uds, 0o600)
    return local
