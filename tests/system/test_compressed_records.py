"""Records that their producer compressed: good ones land, and none becomes too large for whoever reads it.

Bug prevented: `max.message.bytes` bounds a batch as it travels. 60 MiB of zeros travel as two kilobytes; the broker
took them, no consumer could, and landing of every partition stopped at them for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import ConfigResource, ResourceType

from resources.kafka import Admin, ensure_topic
from tests.live_stack import LiveStack
from tests.resources.stream import Stream, own_stream

pytestmark = pytest.mark.stack
MEBIBYTE = 1024 * 1024


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    with own_stream(stack.settings("admin"), tmp_path, partitions=1) as made:
        yield made


@pytest.mark.parametrize("codec", ["zstd", "gzip", "lz4", "snappy"])
def test_a_record_that_unpacks_to_too_much_is_refused_and_the_ones_beside_it_land(stream: Stream, codec: str):
    producer = stream.producer(**{"compression.type": codec, "message.max.bytes": str(100 * MEBIBYTE)})
    answers: list[KafkaError | None] = []
    for value in (b"before", bytes(60 * MEBIBYTE), b"c" * MEBIBYTE):
        producer.produce(stream.topic, value, on_delivery=lambda error, _: answers.append(error))
        assert producer.flush(60) == 0
    assert [error.code() if error else None for error in answers] == [None, KafkaError.MSG_SIZE_TOO_LARGE, None]
    assert stream.lander().land().records == 2
    assert [row["payload"] for row in stream.rows()] == [b"before", b"c" * MEBIBYTE]


def test_a_topic_that_was_made_before_gets_the_properties_of_now(stream: Stream):
    """Bug prevented: a changed `retention_days`, or a property of a newer release, reached new topics only."""
    old = stream.settings
    Admin(old).configure_topic(stream.topic, {"compression.type": "producer", "max.compaction.lag.ms": "86400000"})
    new = old.model_copy(update={"retention_days": 2})
    assert ensure_topic(new, stream.topic) is False
    broker = Admin(new)
    resource = ConfigResource(ResourceType.TOPIC, stream.topic)
    (found,) = broker.client.describe_configs([resource]).values()
    stands = {name: entry.value for name, entry in found.result(20).items()}
    assert stands["compression.type"] == "uncompressed"
    assert stands["retention.ms"] == str(2 * 24 * 3600 * 1000)
    assert stands["max.compaction.lag.ms"] == "86400000", "what is not the platform's stays as it is"
    assert broker.configure_topic(stream.topic, {"compression.type": "uncompressed"}) == {}
