"""A topic and a lake of a test's own, on the running stack's broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import Producer, TopicPartition

from resources.kafka import Admin, ensure_topic, producer_config, watermarks
from resources.kafka_errors import TopicMissing
from resources.lake import Lake, open_lake
from resources.landing import Lander
from resources.settings import Settings
from transforms.tables import RAW_IMAGES

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Stream:
    """A topic of its own, and where it lands."""

    settings: Settings

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.settings.topic

    @property
    def lake(self) -> Lake:
        """The lake."""
        return open_lake(self.settings)

    def producer(self, **options: str) -> Producer:
        """A producer with the platform's properties."""
        return Producer({**producer_config(self.settings), **options})

    def send(
        self,
        values: Sequence[bytes | None],
        partition: int = 0,
        headers: Headers | None = None,
        key: bytes | None = None,
    ) -> None:
        """Send records and wait until they are acknowledged."""
        producer = self.producer()
        failed: list[Any] = []
        for value in values:
            producer.produce(
                self.topic,
                value,
                key,
                partition=partition,
                headers=list(headers) if headers is not None else None,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert failed == []

    def lander(self) -> Lander:
        """A lander of its own."""
        return Lander(self.settings, self.lake)

    def rows(self) -> list[dict[str, Any]]:
        """What has landed, by topic id, partition and offset."""
        frame = pl.read_delta(self.lake.uri(RAW_IMAGES.name))
        return frame.sort("topic_id", "partition", "offset").to_dicts()

    def offsets(self) -> dict[int, list[int]]:
        """Offsets that have landed of the topic as it is now, by partition."""
        topic_id = watermarks(self.settings, self.topic).topic_id
        found: dict[int, list[int]] = {}
        for row in self.rows():
            if row["topic_id"] == topic_id:
                found.setdefault(row["partition"], []).append(row["offset"])
        return found

    def delete_records(self, partition: int, before: int) -> None:
        """Delete the records before an offset."""
        broker = Admin(self.settings)
        asked = [TopicPartition(self.topic, partition, before)]
        for future in broker.client.delete_records(asked).values():
            future.result(30)

    def make_anew(self, partitions: int = 2) -> None:
        """Delete the topic and make it again."""
        broker = Admin(self.settings)
        before = broker.topic_id(self.topic)
        broker.delete_topic(self.topic)
        deadline = time.monotonic() + 30
        while _id_of(broker, self.topic) in (None, before):
            # While the old one is still there this makes nothing, and it may have been made a moment ago.
            ensure_topic(self.settings, self.topic, partitions)
            assert time.monotonic() < deadline, "the topic was not made anew in 30 s"
            time.sleep(0.1)


def until_readable(settings: Settings, partition: int, end: int, seconds: float = 30) -> None:
    """Wait until a partition is readable up to an offset: a commit is answered before its markers are in the log."""
    deadline = time.monotonic() + seconds
    while (found := watermarks(settings, settings.topic).partitions[partition][1]) < end:
        assert time.monotonic() < deadline, f"readable up to {found} and not {end} after {seconds:g} s"
        time.sleep(0.05)


def _id_of(broker: Admin, topic: str) -> str | None:
    """Its id; None while the broker does not know yet the topic that its controller has made."""
    try:
        return broker.topic_id(topic)
    except TopicMissing:
        return None


@contextmanager
def own_stream(settings: Settings, folder: Path, partitions: int = 2, **changes: Any) -> Iterator[Stream]:
    """A stream on the broker of `settings`; the topic is deleted afterwards."""
    topic = f"test.landing.{uuid.uuid4().hex[:12]}"
    own = settings.model_copy(update={"topic": topic, "lake": str(folder / "lake"), "flush_bytes": 1 << 20, **changes})
    ensure_topic(own, topic, partitions)
    try:
        yield Stream(own)
    finally:
        Admin(own).delete_topic(topic)
