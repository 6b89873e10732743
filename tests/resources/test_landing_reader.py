"""The reading half of landing: when it says that the broker is away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from resources.kafka_errors import ErrorMemory, KafkaUnavailable
from resources.landing_reader import Reader
from resources.settings import Settings
from transforms.landing import Batch, ValueBuffer
from transforms.landing_protocol import TopicState


class Silent:
    """A consumer to which nothing comes."""

    def consume(self, count: int, seconds: float) -> list[Any]:
        time.sleep(seconds)
        return []


@pytest.mark.alone
def test_a_slow_disk_between_two_reads_is_not_taken_for_a_broker_that_is_away(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka_timeout_seconds=0.2)
    state = TopicState("images.raw", "A" * 22, {0: (0, 5)})
    consumer: Any = Silent()
    reader, batch = Reader(settings, consumer, ErrorMemory(), state, {0: (0, 5)}), Batch(ValueBuffer(16))
    reader.read(batch)
    time.sleep(0.3)  # the writer was waited for
    reader.read(batch)
    with pytest.raises(KafkaUnavailable, match="sent nothing of images"):
        for _ in range(20):
            reader.read(batch)
