"""One of each hostile kind: through the door first; what the door refuses is then written straight to Kafka.

Why both: the door keeps most of it out, and the platform behind must not rely on that. What the door refuses, or what
no request can carry, is written to the topic as an unsealed record by the operator's identity, so that quarantine
shows every reason. The notebook remembers each kind, so that a second demo writes none again.

Limit: killed between the broker's acknowledgement and the notebook's line, the next demo writes that kind once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.dataset import MemoryItem
from cli.sender import Outcome, Result
from cli.sent import Sent
from resources.failures import TransientFailure
from resources.settings import Settings

if TYPE_CHECKING:
    from cli.hostile import HostileKind

Placed = tuple[int, int]
"""Partition and offset."""


class NotWritten(TransientFailure):
    """The broker did not acknowledge a record that was written straight to it."""


@dataclass
class Refusals:
    """What the doors refused, by kind: status and words. `straight`: the kinds written to Kafka now."""

    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    straight: list[str] = field(default_factory=list)


def for_the_door(kinds: Sequence[HostileKind], sent: Sent) -> list[MemoryItem]:
    """The kinds to send through a door: those that a request can carry and that were not written straight before."""
    return [
        MemoryItem(kind.name, kind.body, None, kind.filename)
        for kind in kinds
        if kind.body is not None and not kind.straight and not sent.was_written(kind.name)
    ]


def write_the_rest(
    kinds: Sequence[HostileKind],
    results: Sequence[Result],
    sent: Sent,
    write: Callable[[HostileKind], Placed],
    topic: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Refusals:
    """Write straight what the doors refused and what no request can carry; each is in the notebook before the next.

    Args:
        kinds: all kinds.
        results: what became of those that were sent through a door.
        write: writes one record, and returns its place once the broker has acknowledged it.

    Raises:
        NotWritten: the broker did not acknowledge in time.
    """
    refused: Mapping[str, Result] = {one.item.name: one for one in results if one.outcome is Outcome.REFUSED}
    found = Refusals({name: (one.status or 0, one.detail) for name, one in refused.items()})
    for kind in kinds:
        if (kind.name in refused or kind.straight) and not sent.was_written(kind.name):
            partition, offset = write(kind)
            status = refused[kind.name].status if kind.name in refused else None
            sent.wrote(kind.name, status, topic, partition, offset, now())
            found.straight.append(kind.name)
    return found


class StraightWriter:
    """Writes records to the topic as they are, by this process's own identity; returns once the broker acknowledged."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        from resources.kafka import producer_config

        self._settings = settings
        self._producer = Producer(producer_config(settings))

    def __call__(self, kind: HostileKind) -> Placed:
        """Write one record.

        Raises:
            NotWritten: with librdkafka's reason.
        """
        said: list[tuple[str | None, int | None, int | None]] = []
        self._producer.produce(
            self._settings.topic,
            value=kind.body,
            key=kind.key,
            headers=list(kind.headers),
            on_delivery=lambda error, message: said.append(
                (None if error is None else error.str(), message.partition(), message.offset())
            ),
        )
        self._producer.flush(self._settings.kafka_timeout_seconds + 5)
        error, partition, offset = said[0] if said else ("no answer", None, None)
        if error is not None or partition is None or offset is None:
            raise NotWritten(
                f"Kafka at {self._settings.kafka_bootstrap} did not acknowledge the record {kind.name!r} written "
                f"straight to {self._settings.topic}: {error}. `darkroom status` shows whether it runs; "
                "run the demo again to go on."
            )
        return partition, offset
