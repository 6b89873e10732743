"""What the application stands on: its edges, made from settings, and the parts built on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from access.principal import Principal
from access.tokens import TokenVerifier
from resources.kafka import producer_config
from resources.keys import Keys, open_key_store
from resources.postgres import ImageStatus
from resources.settings import Settings
from services.door.budget import Budget
from services.door.delivery import Deliverer, KafkaDeliverer
from services.door.intake import Intake
from services.door.projection import StatusStore, StatusWriter
from services.uploads.metrics import Metrics
from services.uploads.thumbnails import LakeThumbnails, Thumbnails

T = TypeVar("T")

HELD_BYTES = 128 * 1024 * 1024
"""Bytes of images that one instance holds at once; a sealed copy and librdkafka's come on top."""
ASKING_THREADS = 8
CLOSE_SECONDS = 10.0


class Verifier(Protocol):
    """The edge to the tokens (access.tokens.TokenVerifier)."""

    def verify(self, token: str) -> Principal:
        """Who a token speaks for; raises TokenRefused, JwksUnavailable."""
        ...

    def ready(self) -> None:
        """Raise JwksUnavailable unless tokens can be judged."""
        ...


@dataclass(frozen=True)
class Edges:
    """Everything outside the application, each by its Protocol."""

    keys: Keys
    deliverer: Deliverer
    status: StatusStore
    verifier: Verifier
    thumbnails: Callable[[], Thumbnails]


def utc_now() -> datetime:
    """The door's clock."""
    return datetime.now(UTC)


def connect(settings: Settings) -> Edges:
    """The real edges. The producer connects in the background; nothing else is reached before it is needed."""
    deliverer = KafkaDeliverer(
        producer_config(settings), settings.topic, timeout_seconds=settings.kafka_timeout_seconds
    )
    deliverer.start()
    return Edges(
        keys=open_key_store(settings),
        deliverer=deliverer,
        status=ImageStatus(settings.postgres_dsn),
        verifier=TokenVerifier(settings.jwks_path, settings.token_issuer, settings.token_audience),
        thumbnails=lambda: LakeThumbnails(settings),
    )


class Door:
    """The application's parts while it runs."""

    def __init__(
        self, settings: Settings, edges: Edges, metrics: Metrics, budget: Budget, now: Callable[[], datetime]
    ) -> None:
        self.settings = settings
        self.edges = edges
        self.metrics = metrics
        self.budget = budget
        self.now = now
        self.writer = StatusWriter(edges.status, metrics.states_dropped.inc)
        self.intake = Intake(
            edges.keys, edges.deliverer, self.writer, max_image_bytes=settings.max_image_bytes, now=now
        )
        self._asking = ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="asking")
        self._thumbnails: Thumbnails | None = None

    def start(self) -> None:
        """Start what runs in the background."""
        self.writer.start()

    async def ask(self, question: Callable[[], T]) -> T:
        """Run something that blocks, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, question)

    def thumbnails(self) -> Thumbnails:
        """The lake, opened at the first question. Blocks."""
        if self._thumbnails is None:
            self._thumbnails = self.edges.thumbnails()
        return self._thumbnails

    def close(self) -> None:
        """Finish what is under way, then let go of everything. Blocks for up to twice `CLOSE_SECONDS`."""
        self.intake.close()
        self.edges.deliverer.close(CLOSE_SECONDS)
        self.writer.close(CLOSE_SECONDS)
        self._asking.shutdown(wait=False, cancel_futures=True)
        self.edges.status.close()
