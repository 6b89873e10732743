"""Developing against plain Pillow, per CPU-second, on photographs of 1 to 2 megapixels.

Both take the same JPEGs, one thread, and are measured in turns in one process, best of several rounds, in CPU time,
for the machine may be shared. "Plain" decodes whole, makes the thumbnail with `Image.thumbnail` and saves it as WebP
with Pillow's own settings; it checks nothing. Developing makes a thumbnail too, and besides finds data cut short,
hashes, measures and turns upright. The second figure is developing through the worker processes, their CPU and the
parent's. The third leaves plain Pillow's saving out: of what remains, half is entropy decoding, which nobody is
spared. PSNR of both thumbnails is against the whole picture scaled with Lanczos' filter and never compressed.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import psutil
from PIL import Image

from benchmarks._photographs import photographs
from benchmarks.figures import Figure, median
from resources.decoding import DecodePool
from resources.settings import Settings
from transforms.images import Developed, Limits, develop

ROUNDS = 5
IMAGES = 40
AIM = 4.0
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
        *_quality(images),
    ]


def _quality(images: Sequence[bytes]) -> list[Figure]:
    ways: dict[str, Callable[[bytes], bytes]] = {"developing": _develop, "plain Pillow": _plain}
    decibels: dict[str, list[float]] = {name: [] for name in ways}
    sizes: dict[str, list[int]] = {name: [] for name in ways}
    for image in images:
        whole = Image.open(io.BytesIO(image)).convert("RGB")
        for name, way in ways.items():
            made = way(image)
            thumbnail = Image.open(io.BytesIO(made)).convert("RGB")
            wanted = whole.resize(thumbnail.size, Image.Resampling.LANCZOS)
            decibels[name].append(_psnr(thumbnail, wanted))
            sizes[name].append(len(made))
    ours, plain = (median(of) for of in decibels.values())
    kilobytes = " and ".join(f"{median(of) / 1000:.1f} kB" for of in sizes.values())
    how = f"{ours:.1f} and {plain:.1f} dB against Lanczos' filter, uncompressed; {kilobytes}"
    return [Figure("PSNR of the thumbnail, developing less plain Pillow", ours - plain, "dB", detail=how)]


def _psnr(one: Image.Image, other: Image.Image) -> float:
    """Decibels, of all channels: 10 log10(255^2 / mean squared error)."""
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def _best(images: Sequence[bytes], ways: Sequence[Callable[[bytes], object]]) -> list[float]:
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


def _plain(image: bytes) -> bytes:
    target = io.BytesIO()
    _thumbnail(image).save(target, "WEBP")
    return target.getvalue()


def _plain_unsaved(image: bytes) -> Image.Image:
    return _thumbnail(image)


def _thumbnail(image: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(image))
    picture.load()
    picture.thumbnail((256, 256))
    return picture


def _develop(image: bytes) -> bytes:
    verdict = develop(image, LIMITS)
    if not isinstance(verdict, Developed):
        raise RuntimeError(f"A photograph of the benchmark was turned away: {verdict.reason}, {verdict.detail}")
    return verdict.thumbnail


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
