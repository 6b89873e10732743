"""The two lanes, each run in a process of its own so that peak memory and processor time are its alone.

Reads settings as JSON from standard input; prints records, wall seconds, processor seconds, peak memory in MB and the
data files that upkeep leaves of them. The time begins before the first request and ends when the last record is read,
or committed; imports and upkeep are not in it. Each lane is warm, as a long-lived process is and as Spark beside it:
a first pass over the same topic, into another table, is in no figure but the memory's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from resources.kafka import consumer_config, watermarks
from resources.lake import open_lake
from resources.landing import Lander
from resources.settings import Settings, load_settings
from resources.upkeep import maintain
from transforms.tables import RAW_IMAGES

CHUNK = 300
"""Messages asked for at a time: what the lander asks for at most, and the fastest bare loop of those tried."""


def consume(settings: Settings) -> int:
    """Read every record, touch its value, and forget it."""
    state = watermarks(settings, settings.topic)
    consumer = Consumer(consumer_config(settings, "darkroom-bench"))
    consumer.assign([TopicPartition(settings.topic, p, low) for p, (low, _) in state.partitions.items()])
    records = ended = size = 0
    while ended < len(state.partitions):
        for message in consumer.consume(CHUNK, 0.02):
            if message.error() is None:
                records += 1
                size += len(message.value() or b"")
            else:
                ended += 1
    consumer.close()
    return records


def land(settings: Settings) -> int:
    """Land every record."""
    return Lander(settings, open_lake(settings)).land().records


def peak_mib(pid: int | None = None) -> int:
    """Most memory that a process had resident, in MiB (Linux), 0 of one that has ended; this one's unless another is
    named.

    Not `ru_maxrss`: that begins with the peak of the process which started this one.
    """
    status = Path(f"/proc/{pid or 'self'}/status").read_text()
    _, told, rest = status.partition("VmHWM:")
    return int(rest.split()[0]) // 1024 if told else 0


def main() -> None:
    """Run the lane that is named; `cold` behind its name leaves out the first pass."""
    lane = {"consume": consume, "land": land}[sys.argv[1]]
    given = load_settings(json.load(sys.stdin))
    warm, settings = (given.model_copy(update={"lake": f"{given.lake}/{name}"}) for name in ("warm", "measured"))
    if len(sys.argv) == 2:
        lane(warm)
    cpu, wall = time.process_time(), time.perf_counter()
    records = lane(settings)
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    peak, lake = peak_mib(), open_lake(settings)
    files = 0
    if lake.exists(RAW_IMAGES.name):
        maintain(lake, RAW_IMAGES, keep_hours=24)
        files = len(lake.open(RAW_IMAGES.name).file_uris())
    print(records, seconds, used, peak, files)


if __name__ == "__main__":
    main()
