"""Where images are decoded: processes of our own that may be timed out, run out of memory or crash, one image at a
time.

Mechanism: a pebble pool of spawned processes (never forked: Kafka clients do not survive a fork), each with a limit
on its address space. Images travel in small chunks; when a chunk fails, its images are asked for again one by one, so
that a hostile image spoils its own row and no other. Workers stay warm over chunks; only those that misbehaved are
replaced.

Limits: a worker runs under the account of its parent, so that it is a fence against accidents and bombs, not against
code that breaks out of a decoder. The limit on address space works on Linux.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from resources import decode_worker
from resources.failures import TransientFailure
from transforms.images import Developed, Limits, Rejected
from transforms.reasons import Reason

if TYPE_CHECKING:
    import numpy as np

    from resources.settings import Settings

CHUNK_IMAGES = 8
CHUNK_BYTES = 4 * 1024 * 1024
_KILLED = -9
_PATIENCE = 2
_GRACE_SECONDS = 120.0

Verdict = Developed | Rejected
T = TypeVar("T")


class DecodingUnavailable(TransientFailure):
    """No decoding process can be had; nothing was judged. Transient."""


@dataclass
class _Chunk:
    images: list[bytes]
    future: ProcessFuture[list[Verdict]]


class DecodePool:
    """Develops images in worker processes. Processes start at first use; close it, or use it as a context manager.

    `features` may be called from several threads at once; `map` from one at a time.

    Args:
        settings: decode_workers, decode_memory_mb, decode_timeout_seconds, and the limits of an image.
    """

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(settings.max_image_bytes, settings.max_pixels, settings.thumbnail_pixels)
        self._workers = settings.decode_workers
        self._memory = settings.decode_memory_mb * 1024 * 1024
        self._timeout = settings.decode_timeout_seconds
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()

    def features(self, image: bytes | memoryview) -> np.ndarray | Rejected:
        """The features of one image's thumbnail (`transforms.features`), or why it has none; it waits for no others.

        No picture is decoded in this process, not even the thumbnail, which does not travel.

        Raises:
            DecodingUnavailable: workers cannot be started, or the pool was closed meanwhile. Nothing was judged.
        """
        return self._alone(bytes(image), decode_worker.measure_chunk)

    def map(self, images: Iterable[bytes | memoryview]) -> Iterator[Verdict]:
        """Verdicts in the order of the images. Reads ahead by two chunks a worker at most, so memory stays bounded.

        Raises:
            DecodingUnavailable: workers cannot be started. Never raised for what an image does.
        """
        chunks = _chunks(images)
        ahead: deque[_Chunk] = deque()
        try:
            for chunk in chunks:
                ahead.append(_Chunk(chunk, self._schedule(chunk, decode_worker.develop_chunk)))
                if len(ahead) > 2 * self._workers:
                    yield from self._results(ahead.popleft())
            while ahead:
                yield from self._results(ahead.popleft())
        finally:
            for waiting in ahead:
                waiting.future.cancel()

    def close(self) -> None:
        """End the worker processes; those that still decode are stopped."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _schedule(self, images: list[bytes], task: Callable[[Sequence[bytes]], list[T]]) -> ProcessFuture[list[T]]:
        with self._lock:
            if self._pool is None:
                limits = self.limits
                self._pool = ProcessPool(
                    max_workers=self._workers,
                    initializer=decode_worker.start,
                    initargs=(limits.max_bytes, limits.max_pixels, limits.thumbnail_pixels, self._memory),
                    context=_BareSpawn(),
                )
            pool = self._pool
        try:
            return pool.schedule(task, args=(images,), timeout=self._timeout)
        except RuntimeError as error:
            raise self._unavailable(error) from error

    def _results(self, chunk: _Chunk) -> list[Verdict]:
        try:
            return self._wait(chunk.future)
        except (BrokenProcessPool, DecodingUnavailable) as error:
            raise self._unavailable(error) from error
        except Exception:
            # Whatever it was, one of these images did it; alone, each gets its own verdict.
            return [self._alone(image, decode_worker.develop_chunk) for image in chunk.images]

    def _alone(self, image: bytes, task: Callable[[Sequence[bytes]], list[T]]) -> T | Rejected:
        """One image in a task of its own, with a second try where its process died or its time ran out.

        Neither need have been the image's doing (the machine may have slept), and a verdict is for good.
        """
        died = late = 0
        while True:
            try:
                return self._wait(self._schedule([image], task))[0]
            except (BrokenProcessPool, DecodingUnavailable) as error:
                raise self._unavailable(error) from error
            except FutureTimeout:
                late += 1
                if late < _PATIENCE:
                    continue
                return Rejected(
                    Reason.DECODE_TIMEOUT,
                    f"Decoding was stopped after {self._timeout:g} s, the longest for one image, {late} times.",
                )
            except MemoryError:
                return self._too_hungry()
            except ProcessExpired as error:
                died += 1
                if died < _PATIENCE:
                    continue
                if error.exitcode == _KILLED:
                    return self._too_hungry()
                return Rejected(Reason.CORRUPT, f"The decoder died on it {died} times (exit code {error.exitcode}).")
            except Exception as error:
                return Rejected(Reason.CORRUPT, f"Decoding failed with {type(error).__name__}.")

    def _too_hungry(self) -> Rejected:
        return Rejected(
            Reason.DECODE_MEMORY,
            f"Decoding needed more than the {self._memory // 1024 // 1024} MiB that one image may use.",
        )

    def _wait(self, future: ProcessFuture[list[T]]) -> list[T]:
        # Everything ahead of this task in the queue has its own time limit, so that a wait without end means a stuck
        # pool.
        longest = self._timeout * (2 * self._workers + 2) + _GRACE_SECONDS
        try:
            return future.result(timeout=longest)
        except FutureTimeout:
            if future.done():
                raise
        except CancelledError:
            # Another thread closed the pool: that says nothing about these images.
            raise DecodingUnavailable("the pool of decoding processes was closed meanwhile") from None
        raise DecodingUnavailable(f"no answer of a decoding process in {longest:g} s")

    def _unavailable(self, error: Exception) -> DecodingUnavailable:
        self.close()
        return DecodingUnavailable(
            f"Decoding in {self._workers} processes is not possible ({type(error).__name__}: {error}). "
            "Nothing was judged. Is there memory and room for processes? The processes' own messages stand in this log."
        )


def _chunks(images: Iterable[bytes | memoryview]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for image in images:
        if chunk and (len(chunk) >= CHUNK_IMAGES or size + len(image) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(bytes(image))
        size += len(image)
    if chunk:
        yield chunk


class _BareProcess(SpawnProcess):
    """A spawned process that does not import its parent's main module.

    `spawn` runs the parent's main script again in every child; under Dagster's console script that is 2.6 CPU-seconds
    and 250 MB for nothing. What a worker needs is named by its task.
    """

    _starting = threading.Lock()

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        with _BareProcess._starting:
            main = sys.modules["__main__"]
            blank = ModuleType("__main__")
            blank.__spec__ = None
            sys.modules["__main__"] = blank
            try:
                return Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class _BareSpawn(SpawnContext):
    Process = _BareProcess
