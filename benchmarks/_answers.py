"""When answers become readable, and topics of a benchmark's own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from resources.kafka import Admin, ensure_topic
from resources.settings import Settings

WAIT_SECONDS = 120.0


@dataclass
class Arrivals:
    """When each key was readable on a topic, from now on; seconds of `time.perf_counter`.

    A process of its own reads and takes the time (`benchmarks._reader`): a thread of this one would wait, with the
    answer there, for whatever else this one does. On Linux the clock is the same for all processes.
    """

    settings: Settings
    topic: str
    seen: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def reading(self) -> Iterator[Arrivals]:
        """Read while the block runs."""
        command = [sys.executable, "-m", "benchmarks._reader", self.topic]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            tell(reader, self.settings)
            lines = ready(reader)
            thread = threading.Thread(target=self._take, args=(lines,))
            thread.start()
            try:
                yield self
            finally:
                reader.terminate()
                thread.join()
        finally:
            reader.kill()
            reader.wait()

    def wait(self, ids: set[str]) -> None:
        """Until each of them was readable."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not ids <= self.seen.keys():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(ids - self.seen.keys())} of {len(ids)} have no answer on {self.topic}")
            time.sleep(0.02)

    def _take(self, lines: IO[str]) -> None:
        for line in lines:
            key, at = line.split()
            self.seen.setdefault(key, float(at))


def tell(process: subprocess.Popen[str], settings: Settings) -> None:
    """Give a helper process the settings that it reads from its standard input."""
    if process.stdin is not None:
        process.stdin.write(settings.model_dump_json() + "\n")
        process.stdin.flush()


def ready(process: subprocess.Popen[str]) -> IO[str]:
    """Wait until a helper process has said that it is ready; what it says from then on."""
    out = process.stdout
    if out is None or out.readline() != "ready\n":
        raise RuntimeError(f"{process.args} did not start")
    return out


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
