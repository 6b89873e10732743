"""What tests of doors on the running stack share: new images, and what the broker really keeps."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from PIL import Image

from resources.kafka import consumer_config
from tests.live_stack import LiveStack
from transforms.envelope import clear_of


def picture(size: int = 16) -> bytes:
    """A new image each time, so that ids of tests never meet."""
    pixels = np.random.default_rng().integers(0, 255, (size, size, 3), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def scan() -> bytes:
    """A new small image without colour each time, as digits are."""
    made = io.BytesIO()
    Image.fromarray(np.random.default_rng().integers(0, 255, (8, 8), dtype=np.uint8)).save(made, "PNG")
    return made.getvalue()


def record_at(stack: LiveStack, answer: dict[str, Any]) -> Message:
    """The record that the answer says the broker keeps."""
    consumer = Consumer(consumer_config(stack.settings("operator"), "operator-uploads-live"))
    try:
        consumer.assign([TopicPartition(answer["topic"], answer["partition"], answer["offset"])])
        message = consumer.poll(20)
    finally:
        consumer.close()
    assert message is not None and message.error() is None
    assert message.offset() == answer["offset"]
    return message


def ids_between(stack: LiveStack, answers: Sequence[dict[str, Any]]) -> dict[tuple[int, int], str]:
    """Ids by place, of every record from the first to the last answer's of each partition."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for answer in answers:
        partition, offset = answer["partition"], answer["offset"]
        first[partition] = min(first.get(partition, offset), offset)
        last[partition] = max(last.get(partition, offset), offset)
    consumer = Consumer(consumer_config(stack.settings("operator"), "operator-uploads-live"))
    found: dict[tuple[int, int], str] = {}
    try:
        topic = answers[0]["topic"]
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in first.items()])
        left = set(last)
        while left:
            message = consumer.poll(20)
            assert message is not None
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            clear = clear_of(message.headers())
            if clear is not None:
                found[partition, offset] = clear.id
            if offset >= last[partition]:
                left.discard(partition)
    finally:
        consumer.close()
    return found


def until(said: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.3)
