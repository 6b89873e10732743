"""The floor of uploads: an upload instance that acknowledges each record at once and keeps none.

Everything else is the service's own, as `python -m services.uploads` has it, the states in PostgreSQL too.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from resources.settings import Settings
from services.door.delivery import Delivery
from services.door.launcher import launch
from services.uploads.app import create_app
from services.uploads.wiring import UploadEdges, connect


class KeepsNothing:
    """In the place of Kafka; see `services.door.delivery.Deliverer`."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._offsets = itertools.count()

    def submit(
        self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], topic: str | None = None
    ) -> Future[Delivery]:
        done: Future[Delivery] = Future()
        done.set_result(Delivery(topic or self._topic, 0, next(self._offsets)))
        return done

    def check(self, timeout: float) -> None:
        """It is always there."""

    def close(self, timeout: float) -> None:
        """Nothing is under way."""


def edges(settings: Settings) -> UploadEdges:
    """The service's own, but for Kafka."""
    real = connect(settings)
    real.deliverer.close(1)
    return replace(real, deliverer=KeepsNothing(settings.topic))


if __name__ == "__main__":
    program = "python -m benchmarks._no_kafka"
    sys.exit(launch(program, "Takes images and keeps none.", None, lambda given: (create_app(given, edges=edges), {})))
