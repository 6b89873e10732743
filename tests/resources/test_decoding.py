"""Decoding processes: hostile images cost their own row and nothing else, and processes end with their parent."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from cli.hostile import hostile_kinds, sound_jpeg, sound_png
from resources.decoding import CHUNK_IMAGES, DecodePool, DecodingUnavailable
from resources.settings import Settings
from resources.worker_process import WorkerProcess
from tests.resources.heavy_images import hungry_png, slow_png
from transforms.features import features
from transforms.images import Developed, Rejected
from transforms.reasons import Reason


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=2)) as decoders:
        yield decoders


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
            if "multiprocessing-fork" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_verdicts_come_in_the_order_of_the_images(pool: DecodePool) -> None:
    widths = [8 + 3 * number for number in range(5 * CHUNK_IMAGES + 3)]
    verdicts = list(pool.map(sound_png(width, 16) for width in widths))
    assert [verdict.width for verdict in verdicts if isinstance(verdict, Developed)] == widths


def test_workers_stay_warm_over_maps(pool: DecodePool) -> None:
    list(pool.map([sound_jpeg()]))
    before = {worker.pid for worker in workers()}
    list(pool.map([sound_jpeg()] * 40))
    assert {worker.pid for worker in workers()} == before


def test_good_images_between_hostile_ones_are_developed(pool: DecodePool) -> None:
    bodies = [kind.body for kind in hostile_kinds() if kind.body is not None]
    mixed = [image for body in bodies for image in (body, sound_jpeg(64, 48))]
    verdicts = list(pool.map(mixed))
    assert len(verdicts) == len(mixed)
    assert all(isinstance(verdict, Developed) for verdict in verdicts[1::2])


def test_features_alone_are_those_of_the_thumbnail_that_is_kept_and_what_is_refused_is_refused_alike(
    pool: DecodePool,
) -> None:
    hostile = [kind.body for kind in hostile_kinds() if kind.body is not None]
    images = [*hostile, sound_jpeg(640, 480), sound_png(300, 40)]
    alone = [pool.features(image) for image in images]
    for vector, kept in zip(alone, pool.map(images), strict=True):
        if isinstance(kept, Rejected):
            assert vector == kept
        else:
            assert isinstance(vector, np.ndarray)
            assert np.array_equal(vector, features(kept.thumbnail))


def test_images_are_read_only_a_few_chunks_ahead(pool: DecodePool) -> None:
    read = 0

    def images() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield sound_png(16, 16)

    verdicts = pool.map(images())
    next(verdicts)
    assert read <= 7 * CHUNK_IMAGES
    verdicts.close()  # type: ignore[attr-defined]


@pytest.mark.alone
def test_an_image_that_takes_too_long_is_stopped_and_the_others_of_its_chunk_are_developed() -> None:
    with DecodePool(Settings(decode_workers=1, decode_timeout_seconds=0.2)) as pool:
        one, slow, other = pool.map([sound_jpeg(), slow_png(), sound_jpeg()])
    assert isinstance(one, Developed) and isinstance(other, Developed)
    assert isinstance(slow, Rejected) and slow.reason is Reason.DECODE_TIMEOUT


@pytest.mark.alone
def test_an_image_that_needs_too_much_memory_is_turned_away_and_the_others_of_its_chunk_are_developed() -> None:
    with DecodePool(Settings(decode_workers=1, decode_memory_mb=256)) as pool:
        one, hungry, other = pool.map([sound_jpeg(), hungry_png(), sound_jpeg()])
    assert isinstance(one, Developed) and isinstance(other, Developed)
    assert isinstance(hungry, Rejected) and hungry.reason is Reason.DECODE_MEMORY
    with DecodePool(Settings(decode_workers=1)) as pool:
        assert isinstance(next(pool.map([hungry_png()])), Developed), "it is a good image with the memory it needs"


def test_workers_know_neither_dagster_nor_the_lake_nor_keys(pool: DecodePool) -> None:
    list(pool.map([sound_jpeg()]))
    for worker in workers():
        loaded = {Path(mapped.path).name for mapped in worker.memory_maps() if mapped.path.endswith(".so")}
        assert any("_jpeg" in name for name in loaded), "looked at the wrong process"
        foreign = [
            name for name in loaded if any(part in name for part in ("deltalake", "arrow", "polars", "rust", "cimpl"))
        ]
        assert not foreign, foreign


def test_a_worker_that_is_killed_costs_no_image(pool: DecodePool) -> None:
    list(pool.map([sound_jpeg()] * 20))
    victim = workers()[0]  # looked for before: the work that is ahead must outlast nothing but the kill
    verdicts = pool.map([sound_jpeg(640, 480)] * 200)
    first = [next(verdicts) for _ in range(10)]
    os.kill(victim.pid, signal.SIGKILL)
    rest = list(verdicts)
    assert all(isinstance(verdict, Developed) for verdict in first + rest)
    assert len(first + rest) == 200


def test_workers_that_are_killed_while_they_wait_cost_no_image_and_no_try(pool: DecodePool) -> None:
    list(pool.map([sound_jpeg()] * 20))
    for _ in range(3):
        for worker in workers():
            worker.kill()
        assert isinstance(pool.features(sound_jpeg()), np.ndarray)
    assert all(isinstance(verdict, Developed) for verdict in pool.map([sound_jpeg()] * 20))


def test_a_pool_that_is_closed_by_another_thread_judges_nobody_and_can_be_used_again() -> None:
    with DecodePool(Settings(decode_workers=1)) as pool:
        verdicts = pool.map([sound_jpeg(640, 480)] * 500)
        next(verdicts)
        closing = threading.Thread(target=pool.close)
        closing.start()
        with pytest.raises(DecodingUnavailable, match="closed meanwhile"):
            list(verdicts)
        closing.join()
        assert isinstance(next(pool.map([sound_jpeg()])), Developed)


def test_processes_that_cannot_be_had_are_a_transient_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with DecodePool(Settings(decode_workers=2)) as pool:
        assert isinstance(next(pool.map([sound_jpeg()])), Developed)
        monkeypatch.setattr(WorkerProcess, "__init__", refuse_a_process)
        for worker in workers():
            worker.kill()
        with pytest.raises(DecodingUnavailable, match="Resource temporarily unavailable"):
            list(pool.map([sound_jpeg()] * 20))
        with pytest.raises(DecodingUnavailable, match="Resource temporarily unavailable"):
            pool.features(sound_jpeg())
        monkeypatch.undo()
        assert isinstance(pool.features(sound_jpeg()), np.ndarray)


def refuse_a_process(*_: object) -> None:
    """Stands in for a machine without room for a process."""
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_decoder_that_crashes_on_an_image_costs_that_image_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from resources import decode_worker

    monkeypatch.setattr(decode_worker, "develop_chunk", crash_on_png)
    with DecodePool(Settings(decode_workers=1)) as pool:
        verdicts = list(pool.map([sound_jpeg(), sound_png(), sound_jpeg()]))
    assert [verdict.reason for verdict in verdicts if isinstance(verdict, Rejected)] == [Reason.CORRUPT]
    assert "exit code" in verdicts[1].detail  # type: ignore[union-attr]


def crash_on_png(images: list[bytes]) -> list[Developed | Rejected]:
    """Stands in for a decoder with a bug; runs in the worker."""
    if any(image.startswith(b"\x89PNG") for image in images):
        os.abort()
    return [Developed("JPEG", len(image), 1, 1, "0" * 16, 0.0, 0.0, b"") for image in images]


def test_workers_that_cannot_start_are_a_transient_failure_and_judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from resources import decode_worker

    monkeypatch.setattr(decode_worker, "start", refuse_to_start)
    with DecodePool(Settings(decode_workers=1)) as pool, pytest.raises(DecodingUnavailable, match="Nothing was judged"):
        list(pool.map([sound_jpeg()]))


def refuse_to_start(*_: int) -> None:
    """Stands in for a worker without the memory to start; runs in the worker."""
    raise MemoryError


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import time, psutil
            from cli.hostile import sound_jpeg
            from resources.decoding import DecodePool
            from resources.settings import Settings
            raise_if_run_twice = open("ran", "x")
            pool = DecodePool(Settings(decode_workers=1))
            list(pool.map([sound_jpeg()]))
            print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
            time.sleep(60)
            """
        )
    )
    # No `if __name__ == "__main__"`: a worker that ran its parent's main script would trip over the file "ran".
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert parent.stdout is not None
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert children
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    parent.stdout.close()


def test_a_closed_pool_leaves_no_process() -> None:
    before = {worker.pid for worker in workers()}
    with DecodePool(Settings(decode_workers=2)) as pool:
        list(pool.map([sound_jpeg()]))
        own = {worker.pid for worker in workers()} - before
        assert own
    deadline = time.monotonic() + 10
    while own & {worker.pid for worker in workers()} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not own & {worker.pid for worker in workers()}
