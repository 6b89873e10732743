"""When answers become readable, and topics of a benchmark's own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition

from resources.kafka import Admin, consumer_config, ensure_topic, watermarks
from resources.settings import Settings

WAIT_SECONDS = 120.0


@dataclass
class Arrivals:
    """When each key was readable on a topic, from now on; seconds of this process's clock."""

    settings: Settings
    topic: str
    seen: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def reading(self) -> Iterator[Arrivals]:
        """Read while the block runs."""
        config = consumer_config(self.settings, "darkroom-bench") | {"enable.partition.eof": "false"}
        consumer = Consumer(config)
        ends = watermarks(self.settings, self.topic).partitions
        consumer.assign([TopicPartition(self.topic, p, high) for p, (_, high) in ends.items()])
        thread = threading.Thread(target=self._read, args=(consumer,))
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            consumer.close()

    def wait(self, ids: set[str]) -> None:
        """Until each of them was readable."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not ids <= self.seen.keys():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(ids - self.seen.keys())} of {len(ids)} have no answer on {self.topic}")
            time.sleep(0.02)

    def _read(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                key = message.key()
                self.seen.setdefault(key if isinstance(key, str) else (key or b"").decode(), time.perf_counter())


@contextmanager
def own_topics(settings: Settings, partitions: int) -> Iterator[Settings]:
    """Topics of images and of answers that are nobody else's; deleted afterwards."""
    mark = uuid.uuid4().hex[:12]
    changed = {"topic": f"bench.images.{mark}", "recognised_topic": f"bench.answers.{mark}"}
    own = settings.model_copy(update=changed)
    for topic in changed.values():
        ensure_topic(own, topic, partitions)
    try:
        yield own
    finally:
        for topic in changed.values():
            Admin(own).delete_topic(topic)
