"""The upload application on real keys and tokens, with stand-ins only where another server would be."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
from PIL import Image

from access.signer import Signer
from access.tokens import TokenVerifier
from resources.keys import KeyStore, open_key_store
from resources.postgres import StatusRow, StatusUnavailable
from resources.settings import Settings
from services.door.answers import SealedAnswer
from services.door.delivery import Delivery
from services.door.problems import Problem
from services.uploads.app import create_app
from services.uploads.lake_rows import LakeRows
from services.uploads.wiring import COLUMNS, UploadEdges
from transforms.envelope import Metadata, clear_of, open_envelope

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
LIMIT = 64 * 1024


def picture(shade: int = 0, form: str = "PNG") -> bytes:
    """A small real image."""
    made = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 10, 20)).save(made, form)
    return made.getvalue()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = NOON

    def __call__(self) -> datetime:
        return self.instant


@dataclass
class Stream:
    """Stands in for the producer: keeps records, and acknowledges at once unless told to hold or refuse."""

    records: list[tuple[bytes, bytes, list[tuple[str, bytes]]]] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    held: list[Future[Delivery]] | None = None
    refusal: Problem | None = None
    closed: bool = False

    def submit(
        self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], topic: str | None = None
    ) -> Future[Delivery]:
        if self.refusal is not None:
            raise self.refusal
        future: Future[Delivery] = Future()
        future.set_running_or_notify_cancel()
        self.records.append((key, value, list(headers)))
        self.topics.append(topic or "images.raw")
        if self.held is None:
            future.set_result(Delivery(self.topics[-1], 2, len(self.records) - 1))
        else:
            self.held.append(future)
        return future

    def check(self, timeout: float) -> None:
        if self.refusal is not None:
            raise self.refusal

    def close(self, timeout: float) -> None:
        self.closed = True


@dataclass
class States:
    """Stands in for PostgreSQL."""

    rows: dict[str, StatusRow] = field(default_factory=dict)
    away: bool = False

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        self._answer()
        for row in rows:
            self.rows.setdefault(row.id, row)

    def get(self, id: str) -> StatusRow | None:
        self._answer()
        return self.rows.get(id)

    def close(self) -> None:
        """Nothing to let go of."""

    def _answer(self) -> None:
        if self.away:
            raise StatusUnavailable("PostgreSQL is away")


class AnswersAtHand:
    """Stands in for the topic of answers: a test puts them."""

    def start(self, put: Callable[[SealedAnswer], None]) -> None:
        self.put = put

    def close(self) -> None:
        """Nothing to stop."""


class Bench:
    """One application and everything around it."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, max_image_bytes=LIMIT, key_cache_seconds=0)
        self.clock = Clock()
        self.keys: KeyStore = open_key_store(self.settings, self.clock)
        self.keys.initialise()
        self.signer = Signer(
            home / "secrets" / "signer.key",
            self.settings.jwks_path,
            self.settings.token_issuer,
            self.settings.token_audience,
        )
        self.signer.initialise()
        self.stream = Stream()
        self.states = States()
        self.answers = AnswersAtHand()
        self.verifier = TokenVerifier(self.settings.jwks_path, self.settings.token_issuer, self.settings.token_audience)

    def edges(self, settings: Settings) -> UploadEdges:
        return UploadEdges(
            self.keys,
            self.stream,
            self.states,
            self.verifier,
            self.answers,
            lambda spec: LakeRows(settings, spec, COLUMNS[spec.name]),
        )

    def authorised(self, subject: str = "ada", **headers: str) -> dict[str, str]:
        token = self.signer.token(subject, ["image-uploaders"], ttl=timedelta(hours=1))
        return {
            "Authorization": f"Bearer {token}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }

    @asynccontextmanager
    async def serving(self, held_bytes: int = 1024 * 1024) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(self.settings, edges=self.edges, now=self.clock, held_bytes=held_bytes)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="https://door.test") as client,
        ):
            yield client

    def run(self, scene: Callable[[httpx.AsyncClient], Awaitable[None]], held_bytes: int = 1024 * 1024) -> None:
        """Play a scene against the running application."""

        async def play() -> None:
            async with self.serving(held_bytes) as client:
                await scene(client)

        asyncio.run(play())

    def opened(self, number: int = -1) -> tuple[str, date, Metadata, bytes]:
        """A record of the stream as developing sees it: id, day, metadata, image."""
        key, value, headers = self.stream.records[number]
        clear = clear_of(headers)
        assert clear is not None
        assert key == clear.id.encode()
        metadata, image = open_envelope(clear, value, self.keys.open_key(clear.key))
        return clear.id, clear.day, metadata, bytes(image)


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """The answer is this problem, whole. Returns the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"urn:darkroom:problem:{code}"
    assert document["status"] == status
    assert document["title"] and document["detail"]
    assert document["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    return document
