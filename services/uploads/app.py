"""The application, made by a factory: nothing is read or reached before it runs.

Instances share nothing but Kafka, PostgreSQL and the key store, so any number may stand side by side, and each may
die at any time: what was answered 201 is in Kafka, and nothing else was promised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from resources.settings import Settings
from services.door import health, rendering
from services.door.budget import Budget
from services.door.edge import Edge
from services.door.health import serving
from services.door.metrics import Metrics
from services.door.wiring import HELD_BYTES, utc_now
from services.uploads import asking, sending
from services.uploads.wiring import UploadDoor, UploadEdges, connect

_DESCRIPTION = """Send images, ask where they are and what they show, see their thumbnails.

Every call under /v1 takes a signed bearer token. What is sent is sealed before it leaves this process, under a key of
its uploader and day. Refusals are problem documents (RFC 9457); a 503 carries `Retry-After`, and sending again is
harmless.
"""


def create_app(
    settings: Settings,
    *,
    edges: Callable[[Settings], UploadEdges] = connect,
    now: Callable[[], datetime] = utc_now,
    held_bytes: int = HELD_BYTES,
) -> FastAPI:
    """The application for `settings`.

    Args:
        settings: of this process.
        edges: makes what is outside, when the application starts.
        now: the door's clock, in UTC.
        held_bytes: bytes of images held at once; more are refused with 503.
    """
    budget = Budget(held_bytes)
    metrics = Metrics("uploads", lambda: budget.held)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serving(app, UploadDoor(settings, edges(settings), metrics, budget, now)):
            yield

    # The pages bring their viewer along: a laptop may be offline, and no page of ours runs another site's script.
    app = FastAPIOffline(
        title="Darkroom uploads",
        version="1",
        summary="Images come in here.",
        description=_DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    rendering.install(app)
    app.include_router(sending.router)
    app.include_router(asking.router)
    app.include_router(health.router)
    app.add_middleware(Edge, metrics=metrics)
    return app
