"""The floor of the sub-second lane: consumes each record and produces a small one under its key, with no work between.

Reads settings as JSON from standard input; prints `ready` when it has its partitions; runs until it is killed.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, Producer, TopicPartition

from resources.kafka import consumer_config, producer_config, watermarks
from resources.settings import Settings

ANSWER = bytes(400)


def main() -> None:
    """Relay."""
    settings = Settings.model_validate_json(sys.stdin.readline())
    consumer = Consumer(consumer_config(settings, "darkroom-bench") | {"enable.partition.eof": "false"})
    consumer.assign([TopicPartition(settings.topic, p, 0) for p in watermarks(settings, settings.topic).partitions])
    producer = Producer({**producer_config(settings), "linger.ms": "0"})
    print("ready", flush=True)
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            producer.produce(settings.recognised_topic, ANSWER, message.key())
        producer.poll(0)


if __name__ == "__main__":
    main()
