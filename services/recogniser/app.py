"""The application around the lane: is it alive, can it answer, what has it counted. It takes no image by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import Field

from resources.decoding import DecodePool
from resources.kafka import producer_config
from resources.keys import open_key_store
from resources.mlflow_registry import open_registry
from resources.settings import Settings
from services.door import health, rendering
from services.door.delivery import Deliverer
from services.door.edge import Edge
from services.door.health import ReadinessProbe
from services.door.kafka_delivery import KafkaDeliverer
from services.door.models import Readiness
from services.recogniser.champions import Champions
from services.recogniser.engine import Edges, Recogniser
from services.recogniser.metrics import Metrics
from transforms.families import FAMILIES


class LaneReadiness(Readiness):
    """Whether the instance answers images, what is missing if not, and the models it has."""

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
        app.state.readiness = ReadinessProbe(lambda: _round(lane))
        lane.start()
        try:
            yield
        finally:
            await asyncio.to_thread(lane.close)

    app = FastAPI(title="Darkroom recogniser", lifespan=lifespan, openapi_url=None)
    app.state.metrics = metrics
    rendering.install(app)
    app.include_router(health.router)
    app.add_middleware(Edge, metrics=metrics)
    return app


async def _round(lane: Recogniser) -> LaneReadiness:
    checks = await asyncio.to_thread(lane.checks)
    return LaneReadiness(
        ready=all(told == "ok" for told in checks.values()),
        checks=checks,
        champions=lane.champions(),
        versions=lane.versions(),
    )
