"""Developing against plain Pillow, per CPU-second, on photographs of 1 to 2 megapixels.

Both take the same JPEGs, one thread, and are measured in turns in one process, best of several rounds, in CPU time,
for the machine may be shared. "Plain" decodes whole, makes the thumbnail with `Image.thumbnail` and saves it as WebP
with Pillow's own settings; it checks nothing. Developing makes a thumbnail too, and besides finds data cut short,
hashes, measures and turns upright. The second figure is developing through the worker processes, their CPU and the
parent's. The third leaves plain Pillow's saving out: of what remains, half is entropy decoding, which nobody is
spared.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import psutil
from PIL import Image

from benchmarks._photographs import photographs
from benchmarks.figures import Figure
from resources.decoding import DecodePool
from resources.settings import Settings
from transforms.images import Developed, Limits, develop

ROUNDS = 5
IMAGES = 40
AIM = 2.0
LIMITS = Limits(max_bytes=10 * 1024 * 1024, max_pixels=50_000_000)


def run() -> list[Figure]:
    """Measure; about 15 CPU-seconds."""
    images = photographs(IMAGES)
    developed, saved, unsaved = _best(images, [_develop, _plain, _plain_unsaved])
    pooled = _pooled(images)
    size = sum(map(len, images)) / len(images) / 1000
    source = f"{len(images)} JPEGs of 1 to 2 megapixels, {size:.0f} kB each, best of {ROUNDS} rounds"
    return [
        Figure(
            "developing against plain Pillow (decode, thumbnail, WebP), per CPU-second",
            saved / developed,
            "times",
            AIM,
            detail=f"{developed:.2f} against {saved:.2f} CPU-ms an image; {source}",
        ),
        Figure(
            "the same through the worker processes",
            saved / pooled,
            "times",
            detail=f"{pooled:.2f} CPU-ms an image, parent and two workers together",
        ),
        Figure(
            "developing against plain Pillow that saves no thumbnail",
            unsaved / developed,
            "times",
            detail=f"{unsaved:.2f} CPU-ms an image; developing saves its thumbnail",
        ),
    ]


def _best(images: Sequence[bytes], ways: Sequence[Callable[[bytes], None]]) -> list[float]:
    """CPU milliseconds an image of each way; rounds alternate, so that a noisy neighbour hits all alike."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for index, way in enumerate(ways):
            way(images[0])
            began = time.process_time()
            for image in images:
                way(image)
            best[index] = min(best[index], (time.process_time() - began) / len(images) * 1000)
    return best


def _plain(image: bytes) -> None:
    _thumbnail(image).save(io.BytesIO(), "WEBP")


def _plain_unsaved(image: bytes) -> None:
    _thumbnail(image)


def _thumbnail(image: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(image))
    picture.load()
    picture.thumbnail((256, 256))
    return picture


def _develop(image: bytes) -> None:
    verdict = develop(image, LIMITS)
    if not isinstance(verdict, Developed):
        raise RuntimeError(f"A photograph of the benchmark was turned away: {verdict.reason}, {verdict.detail}")


def _pooled(images: Sequence[bytes]) -> float:
    """CPU milliseconds an image through warm worker processes, parent and workers together."""
    with DecodePool(Settings(decode_workers=2)) as pool:
        list(pool.map(images))
        workers = psutil.Process().children(recursive=True)
        began = _cpu(workers)
        for _ in range(ROUNDS):
            list(pool.map(images))
        return (_cpu(workers) - began) / (ROUNDS * len(images)) * 1000


def _cpu(workers: Sequence[psutil.Process]) -> float:
    times = [worker.cpu_times() for worker in workers]
    return time.process_time() + sum(each.user + each.system for each in times)
