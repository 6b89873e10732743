"""The outermost layer: every request gets a number, every answer its headers, every exchange one line of log.

Two things only this layer can do. A failure nobody foresaw becomes a problem document with the request's number, and
its trace goes to the log. And an answer given before the body was read must not be lost in a connection reset: it is
sent whole, a bounded rest of the body is read and thrown away, and then the connection closes.

The log has route templates instead of paths, and no header: no id of an image, no name, no token. WebSockets pass
through: what such a door answers in its frames, it counts and logs itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from time import perf_counter
from typing import Protocol

from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.door.behind import NUMBER, number_of
from services.door.problems import Kind, Problem

log = logging.getLogger("darkroom.access")

LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 1.0
CLIENT_GONE = 499
"""Logged where the asker left before the answer; never sent."""

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
_CLOSED = b"default-src 'none'; frame-ancestors 'none'"
# The API's own pages start their viewer by a script within the page.
_PAGES = (
    b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; img-src 'self' data:; "
    b"script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)


class Counted(Protocol):
    """What exchanges are counted in; `services.door.metrics.Metrics` has it."""

    requests: Histogram
    """Seconds by method, route and status."""


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Counted) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        scope[NUMBER] = exchange.number
        trace = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = CLIENT_GONE
        except (
            Exception
        ):  # the last resort of a server: whatever it was, the asker gets an answer and the log the trace
            trace = traceback.format_exc()
            if exchange.status is None:
                await _fail(exchange)
        self._record(scope, exchange, trace)

    def _record(self, scope: Scope, exchange: _Exchange, trace: str | None) -> None:
        seconds = perf_counter() - exchange.started
        route = getattr(scope.get("route"), "path", "(none)")
        status = exchange.status or 0
        if route != "/metrics":
            self._metrics.requests.labels(_method(scope), route, str(status)).observe(seconds)
        extra = {
            "request": exchange.number,
            "method": _method(scope),
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "bytes_in": exchange.bytes_in,
        }
        if trace is not None:
            log.error("request failed", extra={"fields": {**extra, "trace": trace}})
        elif route not in {"/healthz", "/readyz", "/metrics"} or status >= 400:
            log.info("request", extra={"fields": extra})


class _Exchange:
    """One request's events as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.number = number_of(scope)
        self.status: int | None = None
        self.bytes_in = 0
        self.started = perf_counter()
        self._path: str = scope["path"]
        self._receive = receive
        self._send = send
        names = {name for name, _ in scope["headers"]}
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        self._body_read = b"transfer-encoding" not in names and announced == b"0"

    async def receive(self) -> Message:
        """The next event from the server."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
            self._body_read = not message.get("more_body", False)
        else:
            self._body_read = True
        return message

    async def send(self, message: Message) -> None:
        """The next event to the server."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *SECURITY_HEADERS, (b"x-request-id", self.number.encode())]
            pages = self._path in {"/docs", "/redoc"}
            # A page of our own names what it needs.
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append((b"content-security-policy", _PAGES if pages else _CLOSED))
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            if not self._body_read:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and not self._body_read:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        drained = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._body_read and drained < LINGER_BYTES:
                    before = self.bytes_in
                    await self.receive()
                    drained += self.bytes_in - before
        except TimeoutError:
            return


async def _fail(exchange: _Exchange) -> None:
    problem = Problem(Kind.INTERNAL, "The failure is in the service's log under this request's number.")
    body = json.dumps(problem.document(f"urn:uuid:{exchange.number}")).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await exchange.send({"type": "http.response.start", "status": 500, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": body})


def _method(scope: Scope) -> str:
    """The method, or OTHER: a stranger's word must not become a label."""
    method: str = scope["method"]
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "OTHER"
