"""What clients were told, kept while faults strike, and compared with what the lake holds afterwards.

In the style of Jepsen's checkers: the sender writes down every acknowledgement it received and nothing else; the check
reads the tables back with polars, not with Darkroom's own code. What was never acknowledged may or may not be there.
"""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import polars as pl
from PIL import Image

RAW = "images/raw_images"
PROCESSED = "images/processed_images"
QUARANTINED = "images/quarantined_images"


@dataclass(frozen=True)
class Acknowledged:
    """One 201 of the door: the image id and where the broker put the record."""

    id: str
    partition: int
    offset: int


@dataclass
class History:
    """Acknowledgements by the order they came in, and how often the door said something else."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def png(seed: int, size: int = 48) -> bytes:
    """A PNG that no other seed makes: noise, so that no two look alike either."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Sender(threading.Thread):
    """Sends one unique image after the other to the upload instances in turn until stopped.

    Each image is tried again until it is acknowledged or the sender is stopped: what a careful client does.
    """

    def __init__(
        self,
        urls: list[str],
        ca: Path,
        token: str,
        first_seed: int,
        pause: float = 0.02,
        body: Callable[[int], bytes] = png,
    ) -> None:
        super().__init__(daemon=True, name=f"sender-{first_seed}")
        self.history = History()
        self._urls = itertools.cycle(urls)
        self._ca = ca
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
        self._seed = first_seed
        self._pause = pause
        self._body = body
        self._ending = threading.Event()

    def run(self) -> None:
        """Send until `stop`."""
        import ssl

        with httpx.Client(verify=ssl.create_default_context(cafile=str(self._ca)), timeout=40) as client:
            for seed in itertools.count(self._seed):
                body = self._body(seed)
                while not self._ending.is_set() and not self._send(client, body):
                    time.sleep(0.2)
                if self._ending.is_set():
                    return
                time.sleep(self._pause)

    def _send(self, client: httpx.Client, body: bytes) -> bool:
        try:
            answer = client.post(f"{next(self._urls)}/v1/images", content=body, headers=self._headers)
        except httpx.HTTPError as error:
            self.history.refused[type(error).__name__] += 1
            return False
        if answer.status_code != 201:
            self.history.refused[str(answer.status_code)] += 1
            return False
        told = answer.json()
        self.history.acknowledged.append(Acknowledged(told["id"], told["partition"], told["offset"]))
        return True

    def stop(self) -> History:
        """End the sending and give back what was acknowledged."""
        self._ending.set()
        self.join(timeout=60)
        assert not self.is_alive(), "the sender did not end within a minute: the door hangs"
        return self.history


def read(lake_root: str, table: str, columns: list[str]) -> pl.DataFrame:
    """Columns of one table as polars reads them, without Darkroom's code."""
    return pl.read_delta(f"{lake_root}/{table}", columns=columns)


def violations(lake_root: str, acknowledged: list[Acknowledged], topic_id: str) -> Iterator[str]:
    """Every promise that the tables break, as a sentence; nothing when all hold.

    Args:
        topic_id: the broker's id of the topic that acknowledged; a place in another topic's log proves nothing.
    """
    raw = read(lake_root, RAW, ["topic", "topic_id", "partition", "offset", "key"])
    processed = read(lake_root, PROCESSED, ["id"])
    doubled_raw = raw.height - raw.select("topic", "topic_id", "partition", "offset").n_unique()
    if doubled_raw:
        yield f"{doubled_raw} records stand in bronze more than once"
    ours = raw.filter(pl.col("topic_id") == topic_id).select("partition", "offset", "key")
    held = {(partition, offset): key for partition, offset, key in ours.iter_rows()}
    lost = [one for one in acknowledged if (one.partition, one.offset) not in held]
    if lost:
        yield f"{len(lost)} acknowledged records are not in bronze, the first: {lost[0]}"
    kept = [(one, held[one.partition, one.offset]) for one in acknowledged if (one.partition, one.offset) in held]
    strange = [(one, key) for one, key in kept if key != one.id.encode()]
    if strange:
        yield (
            f"{len(strange)} acknowledged places hold another record, the first: {strange[0][0]} has the key "
            f"{strange[0][1]!r}"
        )
    times = Counter(processed["id"].to_list())
    doubled = [id for id, count in times.items() if count > 1]
    if doubled:
        yield f"{len(doubled)} images stand in processed_images more than once"
    missing = [one for one in acknowledged if one.id not in times]
    if missing:
        yield f"{len(missing)} acknowledged images were not developed, the first: {missing[0]}"
