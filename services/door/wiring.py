"""What a door stands on: its edges, made from settings, and the parts built on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from access.tokens import TokenVerifier
from resources.kafka import producer_config
from resources.key_protocol import Keys
from resources.keys import open_key_store
from resources.postgres import ImageStatus
from resources.settings import Settings
from services.door.answers import Answers, AnswerSource, TopicTail
from services.door.bearer import Verifier
from services.door.budget import Budget
from services.door.delivery import Deliverer
from services.door.intake import Intake
from services.door.kafka_delivery import KafkaDeliverer
from services.door.metrics import Metrics
from services.door.projection import StatusStore, StatusWriter

T = TypeVar("T")

HELD_BYTES = 128 * 1024 * 1024
"""Bytes of images that one instance holds at once; a sealed copy and librdkafka's come on top."""
ASKING_THREADS = 8
CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class Edges:
    """Everything outside a door, each by its Protocol."""

    keys: Keys
    deliverer: Deliverer
    status: StatusStore
    verifier: Verifier
    answers: AnswerSource


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
        answers=TopicTail(settings),
    )


class Door:
    """A door's parts while it runs."""

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
        self.answers = Answers()
        self._asking = ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="asking")

    def start(self) -> None:
        """Start what runs in the background."""
        self.writer.start()
        self.edges.answers.start(self.answers.put)

    async def ask(self, question: Callable[[], T]) -> T:
        """Run something that blocks, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, question)

    def close(self) -> None:
        """Finish what is under way, then let go of everything. Blocks for up to twice `CLOSE_SECONDS`."""
        self.intake.close()
        self.edges.deliverer.close(CLOSE_SECONDS)
        self.writer.close(CLOSE_SECONDS)
        self.edges.answers.close()
        self._asking.shutdown(wait=False, cancel_futures=True)
        self.edges.status.close()
