"""The edge by which doors, and the recogniser, hand records over; `services.door.kafka_delivery` is the real one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Delivery:
    """Where the broker keeps a record."""

    topic: str
    partition: int
    offset: int


class Deliverer(Protocol):
    """The edge to the stream."""

    def submit(
        self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], topic: str | None = None
    ) -> Future[Delivery]:
        """Hand over one record; may block for two seconds, so not for the event loop.

        Args:
            topic: where to; the images' topic when None.

        Raises:
            Problem: KAFKA_AWAY, BUSY or TOO_LARGE; the future fails with the same.
        """
        ...

    def check(self, timeout: float) -> None:
        """Raise Problem KAFKA_AWAY unless the broker knows the topic; may block for `timeout` seconds."""
        ...

    def close(self, timeout: float) -> None:
        """Wait for what is under way, at most `timeout` seconds, and stop."""
        ...
