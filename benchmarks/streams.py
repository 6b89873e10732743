"""Images a second over one WebSocket against uploads of one instance, and what an image costs each door's process.

Both go in turn to the running stack, the same images to both; the median of the repeats counts. The client's own time
is in the rates, for it runs on the same cores, and not in the processor time, which is the door's process alone and so
is the better figure. What was sent ends in quarantine, as bytes behind a JPEG's first ones, so that developing costs
little.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks._stack import as_gateway, darkroom, status
from benchmarks.figures import Figure, median, spread
from cli.by_stream import ByStream
from cli.dataset import MemoryItem
from cli.ways import ByUpload, Way

REPEATS = 3
SIZES = {"1 kB": (1_000, 2_000), "100 kB": (100_000, 300)}
"""By name: bytes of an image, and how many a lane sends."""
UNDER_WAY = {"stream": 64, "upload": 8}


@dataclass(frozen=True)
class Lane:
    """One lane of images: images a second, and milliseconds of the door's processor time for each."""

    rate: float
    cpu: float


def run() -> list[Figure]:
    """Both doors, with small images and large ones."""
    home = Path(os.environ["DARKROOM_HOME"])
    state = status(home)
    token = darkroom(home, "token").strip()
    trust = as_gateway(home)
    figures = []
    for name, (size, count) in SIZES.items():
        lanes: dict[str, list[Lane]] = {"stream": [], "upload": []}
        for _ in range(REPEATS):
            images = [b"\xff\xd8\xff\xe0" + os.urandom(size - 4) for _ in range(count)]
            lanes["stream"].append(asyncio.run(_by_stream(state, trust, token, images)))
            lanes["upload"].append(asyncio.run(_by_upload(state, trust, token, images)))
        figures += _figures(name, lanes)
    return figures


def _figures(name: str, lanes: dict[str, list[Lane]]) -> list[Figure]:
    stream, upload = lanes["stream"], lanes["upload"]
    ratios = [one.rate / other.rate for one, other in zip(stream, upload, strict=True)]
    saved = [other.cpu / one.cpu for one, other in zip(stream, upload, strict=True)]
    found = [
        Figure(f"stream / uploads, {name}", median(ratios), "", 1, detail=f"images a second; {spread(ratios)}"),
        Figure(f"processor time of uploads / of stream, {name}", median(saved), "", 1, detail=spread(saved)),
    ]
    for way, runs in lanes.items():
        rates, costs = [lane.rate for lane in runs], [lane.cpu for lane in runs]
        how = f"{UNDER_WAY[way]} under way; {spread(rates)}"
        found.append(Figure(f"  by {way}, {name}", median(rates), "images/s", None, detail=how))
        found.append(Figure(f"  by {way}, {name}", median(costs), "ms of CPU an image", None, detail=spread(costs)))
    return found


async def _by_stream(state: dict[str, Any], trust: ssl.SSLContext, token: str, images: Sequence[bytes]) -> Lane:
    way = ByStream(trust)
    try:
        door = state["services"]["streams-1"]["url"].replace("https://", "wss://") + "/v1/stream"
        return await _lane(state, "stream", "streams-1", _sending(way, door, token), images)
    finally:
        await way.close()


async def _by_upload(state: dict[str, Any], trust: ssl.SSLContext, token: str, images: Sequence[bytes]) -> Lane:
    async with httpx.AsyncClient(verify=trust, timeout=60) as client:
        sending = _sending(ByUpload(client), state["services"]["uploads-1"]["url"], token)
        return await _lane(state, "upload", "uploads-1", sending, images)


def _sending(way: Way, door: str, token: str) -> Callable[[bytes], Awaitable[None]]:
    async def send(image: bytes) -> None:
        item = MemoryItem("bench.jpg", image)
        answer = await way.put(door, item, image, sha256(image).hexdigest(), datetime.now(UTC), token)
        if answer.receipt is None:
            raise RuntimeError(f"{door} answered {answer.status}: {answer.detail}")

    return send


async def _lane(
    state: dict[str, Any], way: str, service: str, send: Callable[[bytes], Awaitable[None]], images: Sequence[bytes]
) -> Lane:
    process = psutil.Process(state["services"][service]["pid"])
    await send(b"\xff\xd8\xff\xe0" + os.urandom(60))  # connected, and the day's key opened, before the clock runs
    left = itertools.chain(images)

    async def work() -> None:
        for image in left:
            await send(image)

    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    await asyncio.gather(*(work() for _ in range(UNDER_WAY[way])))
    seconds, cpu = time.monotonic() - started, sum(process.cpu_times()[:2]) - before
    return Lane(len(images) / seconds, cpu / len(images) * 1000)
