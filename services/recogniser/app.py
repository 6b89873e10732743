"""The application around the lane: is it alive, can it answer, what has it counted. It takes no image by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from resources.decoding import DecodePool
from resources.kafka import producer_config
from resources.keys import open_key_store
from resources.mlflow_registry import open_registry
from resources.settings import Settings
from services.door import rendering
from services.door.delivery import Deliverer, KafkaDeliverer
from services.door.edge import Edge
from services.recogniser.champions import Champions
from services.recogniser.engine import Edges, Recogniser
from services.recogniser.metrics import Metrics
from transforms.families import FAMILIES

router = APIRouter(tags=["health"])

BELIEVED_SECONDS = 1.0
"""Anyone may ask, so an answer stands for a second, and questions to Kafka do not grow with the askers."""


class Readiness(BaseModel):
    """Whether the instance answers images, what is missing if not, and the models it has."""

    ready: bool
    checks: dict[str, str] = Field(description="By what was asked: ok, or a sentence. All are needed.")
    champions: dict[str, str] = Field(
        description="By model: ok, or what is wrong with its champion. Not needed: the last good one goes on."
    )
    versions: dict[str, str] = Field(description="By model the version that scores; none before the first champion.")


def connect(settings: Settings, metrics: Metrics) -> Edges:
    """The real edges. The producer connects in the background; nothing else is reached before `Recogniser.start`."""
    return Edges(
        keys=open_key_store(settings),
        deliverer=deliverer_of(settings),
        pool=DecodePool(settings),
        champions=Champions(lambda: open_registry(settings), FAMILIES, metrics),
    )


def deliverer_of(settings: Settings) -> Deliverer:
    """The producer of answers, started; it connects in the background. An answer does not wait for others."""
    config = {**producer_config(settings), "linger.ms": "0", **settings.kafka_extra}
    deliverer = KafkaDeliverer(config, settings.recognised_topic, timeout_seconds=settings.kafka_timeout_seconds)
    deliverer.start()
    return deliverer


def create_app(settings: Settings, *, edges: Callable[[Settings, Metrics], Edges] = connect) -> FastAPI:
    """The application for `settings`; the lane runs while the application does.

    Args:
        settings: of this process.
        edges: makes what is outside, when the application starts.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lane = Recogniser(settings, edges(settings, metrics), metrics)
        app.state.probe = _Probe(lane)
        lane.start()
        try:
            yield
        finally:
            await asyncio.to_thread(lane.close)

    app = FastAPI(title="Darkroom recogniser", lifespan=lifespan, openapi_url=None)
    app.state.metrics = metrics
    rendering.install(app)
    app.include_router(router)
    app.add_middleware(Edge, metrics=metrics)
    return app


class _Probe:
    """Asks what answering needs; one round at a time, believed for a second."""

    def __init__(self, lane: Recogniser) -> None:
        self._lane = lane
        self._lock = asyncio.Lock()
        self._last: tuple[float, Readiness] | None = None

    async def ask(self) -> Readiness:
        """The newest answer."""
        async with self._lock:
            if self._last is None or monotonic() - self._last[0] > BELIEVED_SECONDS:
                checks = await asyncio.to_thread(self._lane.checks)
                self._last = (
                    monotonic(),
                    Readiness(
                        ready=all(told == "ok" for told in checks.values()),
                        checks=checks,
                        champions=self._lane.champions(),
                        versions=self._lane.versions(),
                    ),
                )
            return self._last[1]


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns; asks nobody."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Can images be answered."""
    readiness = await request.app.state.probe.ask()
    headers = {} if readiness.ready else {"Retry-After": "2"}
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503, headers=headers)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters, in Prometheus' text format."""
    counted = request.app.state.metrics
    return Response(counted.text(), headers={"Content-Type": counted.content_type})
