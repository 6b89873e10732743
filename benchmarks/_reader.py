"""Reads a topic from its end and says when each record was there: `python -m benchmarks._reader TOPIC`.

Reads settings as JSON from standard input; prints `ready` when it has its partitions, then a line for each record, its
key and the seconds of `time.perf_counter`; runs until it is stopped.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, TopicPartition

from resources.kafka import consumer_config, watermarks
from resources.settings import Settings


def main() -> None:
    """Read."""
    settings, topic = Settings.model_validate_json(sys.stdin.readline()), sys.argv[1]
    consumer = Consumer(consumer_config(settings, "darkroom-bench") | {"enable.partition.eof": "false"})
    ends = watermarks(settings, topic).partitions
    consumer.assign([TopicPartition(topic, p, high) for p, (_, high) in ends.items()])
    print("ready", flush=True)
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            at, key = time.perf_counter(), message.key() or b""
            print(key if isinstance(key, str) else key.decode(), at, flush=True)


if __name__ == "__main__":
    main()
