"""Is the process alive, can it work, and what has it counted: for supervisors, gateways and Prometheus.

The routes are every service's: its application says `state.readiness` and `state.metrics`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from access.tokens import JwksUnavailable
from resources.key_objects import KeyUnavailable
from resources.postgres import StatusUnavailable
from services.door.models import Readiness
from services.door.problems import Problem
from services.door.wiring import Door
from transforms.envelope import day_of

router = APIRouter(tags=["health"])

KAFKA_SECONDS = 3.0
BELIEVED_SECONDS = 1.0
"""Anyone may ask, so an answer stands for a second, and questions to Kafka do not grow with the askers."""
NO_ID = "a" * 26


class ReadinessProbe:
    """Asks what a service needs; one round at a time, believed for a second.

    Args:
        look: one round.
    """

    def __init__(self, look: Callable[[], Awaitable[Readiness]]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._last: tuple[float, Readiness] | None = None

    async def ask(self) -> Readiness:
        """The newest answer."""
        async with self._lock:
            if self._last is None or monotonic() - self._last[0] > BELIEVED_SECONDS:
                self._last = (monotonic(), await self._look())
            return self._last[1]


@asynccontextmanager
async def serving(app: FastAPI, door: Door) -> AsyncIterator[None]:
    """Run a door's background parts while the application runs, where these routes find it."""
    door.start()
    app.state.door = door
    app.state.metrics = door.metrics
    app.state.readiness = ReadinessProbe(lambda: _round(door))
    try:
        yield
    finally:
        await asyncio.to_thread(door.close)


@router.get("/healthz", summary="Is the process alive")
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop turns; asks nobody."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Can it do its work",
    description="Asks what the service needs, at most once a second; the checks name each, and what is missing.",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready; the checks say what is missing."}},
)
async def readyz(request: Request) -> Response:
    """Can it do its work."""
    readiness = await request.app.state.readiness.ask()
    headers = {} if readiness.ready else {"Retry-After": "2"}
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503, headers=headers)


@router.get("/metrics", summary="Counters for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters, in Prometheus' text format."""
    counted = request.app.state.metrics
    return Response(counted.text(), headers={"Content-Type": counted.content_type})


async def _round(door: Door) -> Readiness:
    """Kafka for the topic, the key store for its secret and the day, the issuer's keys; PostgreSQL is not needed."""
    questions: dict[str, Callable[[], str]] = {
        "kafka": lambda: _kafka(door),
        "keys": lambda: _keys(door),
        "tokens": lambda: _tokens(door),
        "postgres": lambda: _postgres(door),
    }
    answers = await asyncio.gather(*(door.ask(question) for question in questions.values()))
    checks = dict(zip(questions, answers, strict=True))
    return Readiness(ready=all(checks[name] == "ok" for name in ("kafka", "keys", "tokens")), checks=checks)


def _kafka(door: Door) -> str:
    try:
        door.edges.deliverer.check(KAFKA_SECONDS)
    except Problem as problem:
        return f"no broker that knows topic {door.settings.topic} answered" + (
            f": {problem.log}" if problem.log else ""
        )
    return "ok"


def _keys(door: Door) -> str:
    try:
        door.edges.keys.platform_secret()
        door.edges.keys.erased_ids(day_of(door.now()))
    except KeyUnavailable as error:
        return str(error)
    return "ok"


def _tokens(door: Door) -> str:
    try:
        door.edges.verifier.ready()
    except JwksUnavailable as error:
        return str(error)
    return "ok"


def _postgres(door: Door) -> str:
    try:
        door.edges.status.get(NO_ID)
    except StatusUnavailable as error:
        return str(error)
    return "ok"
