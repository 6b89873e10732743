"""The application, made by a factory: nothing is read or reached before it runs.

Before the handshake is accepted it is decided who sends; after it nobody is asked again, only the clock. Instances
share nothing but Kafka, PostgreSQL and the key store, and each may die at any time: what was acknowledged is in Kafka,
and nothing else was promised.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

from fastapi import FastAPI
from prometheus_client import Counter, Gauge
from starlette.datastructures import Headers
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from access.tokens import Proof
from resources.settings import Settings
from services.door import health, rendering
from services.door.bearer import bearer_of, proof_of
from services.door.behind import number_of
from services.door.budget import Budget
from services.door.edge import SECURITY_HEADERS, Edge
from services.door.health import serving
from services.door.metrics import Metrics
from services.door.problems import Kind, Problem
from services.door.rendering import MEDIA_TYPE, headers_of, told
from services.door.wiring import HELD_BYTES, Door, Edges, connect, utc_now
from services.streams.frames import UNAUTHENTICATED
from services.streams.results import ResultSession
from services.streams.session import End, Limits, Session
from services.streams.websocket import HeldBackWebSocket

log = logging.getLogger("darkroom.access")

SPARE_BYTES = 1024
"""A frame this much over the largest image is still read: an image of a few bytes too many is refused by its seq."""
PING_SECONDS = 20.0


class Served(Protocol):
    """One accepted connection of a route."""

    async def run(self) -> End:
        """Serve it until it ends."""
        ...


class Socket:
    """A route of WebSockets: who connects is decided before the handshake, and how many at a time.

    Args:
        name: `darkroom_streams_<name>connections` count them; empty for `/v1/stream`.
        make: serves one connection.
        metrics: of the application.
        most: connections at a time; more are refused with 503.
        limits: of each.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Door, Proof, str, Receive, Send, Limits], Served],
        metrics: Metrics,
        most: int,
        limits: Limits,
    ) -> None:
        self._make = make
        self._most = most
        self._limits = limits
        self._open = 0
        self._ended = Counter(
            f"darkroom_streams_{name}connections",
            "Connections that ended, by close code; refused handshakes by HTTP status.",
            ["code"],
            registry=metrics.registry,
        )
        Gauge(
            f"darkroom_streams_{name}open_connections", "Connections that are open.", registry=metrics.registry
        ).set_function(lambda: self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        number = number_of(scope)
        door: Door = scope["app"].state.door
        await receive()  # websocket.connect
        try:
            proof = proof_of(door.edges.verifier, bearer_of(Headers(scope=scope).get("authorization")))
            if self._open >= self._most:
                raise Problem(Kind.BUSY, f"{self._most} connections are open here. Try again.", retry_after=5)
        except Problem as problem:
            await self._refuse(scope, send, number, problem)
            return
        self._open += 1
        try:
            await send({"type": "websocket.accept", "headers": [(b"x-request-id", number.encode())]})
            end = await self._make(door, proof, number, receive, send, self._limits).run()
            self._ended.labels(str(end.code)).inc()
        finally:
            self._open -= 1

    async def _refuse(self, scope: Scope, send: Send, number: str, problem: Problem) -> None:
        """Say no before the handshake: as the HTTP answer that it still is, where the server can send one."""
        told(number, problem)
        self._ended.labels(str(problem.kind.status)).inc()
        log.info("stream refused", extra={"fields": {"request": number, "status": problem.kind.status}})
        if "websocket.http.response" not in scope.get("extensions", {}):
            code = UNAUTHENTICATED if problem.kind is Kind.UNAUTHENTICATED else 1013
            await send({"type": "websocket.close", "code": code, "reason": problem.kind.code})
            return
        body = json.dumps(problem.document(f"urn:uuid:{number}")).encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(problem).items()]
        headers += [
            *SECURITY_HEADERS,
            (b"x-request-id", number.encode()),
            (b"cache-control", b"no-store"),
            (b"content-type", MEDIA_TYPE.encode()),
        ]
        await send({"type": "websocket.http.response.start", "status": problem.kind.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})


def create_app(
    settings: Settings,
    *,
    edges: Callable[[Settings], Edges] = connect,
    now: Callable[[], datetime] = utc_now,
    held_bytes: int = HELD_BYTES,
    limits: Limits | None = None,
) -> FastAPI:
    """The application for `settings`; run it with `server_options`.

    Args:
        settings: of this process.
        edges: makes what is outside, when the application starts.
        now: the door's clock, in UTC.
        held_bytes: bytes of images and of frames that are not complete, held at once.
        limits: of each connection.
    """
    budget = Budget(held_bytes)
    metrics = Metrics("streams", lambda: budget.held)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serving(app, Door(settings, edges(settings), metrics, budget, now)):
            yield

    # Its API is a protocol of frames, which OpenAPI has no words for: docs/streams.md has.
    app = FastAPI(title="Darkroom streams", lifespan=lifespan, openapi_url=None)
    app.state.budget = budget
    rendering.install(app)
    for path, name, make in (("/v1/stream", "", Session), ("/v1/results", "results_", ResultSession)):
        served = Socket(name, make, metrics, settings.stream_connections, limits or Limits())
        app.router.routes.append(WebSocketRoute(path, served))
    app.include_router(health.router)
    app.add_middleware(Edge, metrics=metrics)
    return app


def server_options(app: FastAPI, settings: Settings) -> Mapping[str, Any]:
    """What uvicorn must be told to serve this application: its bounds hold only with these."""
    return {
        "ws": functools.partial(HeldBackWebSocket, budget=app.state.budget),
        "ws_max_size": settings.max_image_bytes + SPARE_BYTES,
        "ws_ping_interval": PING_SECONDS,
        "ws_ping_timeout": PING_SECONDS,
        # Images do not shrink, and a few bytes that unpack to gigabytes are not wanted.
        "ws_per_message_deflate": False,
    }
