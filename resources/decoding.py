"""Where images are decoded: processes of our own that may be timed out, run out of memory or crash, one image at a
time.

Mechanism: worker processes (`resources.worker_process`), each with a limit on its address space and a thread here that
waits for it. Images travel in small chunks; when a chunk fails, its images are asked for again one by one, so that a
hostile image spoils its own row and no other. Workers stay warm over chunks; only those that misbehaved are replaced.

Limits: a worker runs under the account of its parent, so that it is a fence against accidents and bombs, not against
code that breaks out of a decoder. The limit on address space works on Linux.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from resources import decode_worker
from resources.failures import TransientFailure
from resources.worker_process import TaskFailed, TaskTimeout, WorkerLost, WorkerProcess
from transforms.images import Developed, Limits, Rejected
from transforms.reasons import Reason

if TYPE_CHECKING:
    import numpy as np

    from resources.settings import Settings

CHUNK_IMAGES = 8
CHUNK_BYTES = 4 * 1024 * 1024
_KILLED = -9
_PATIENCE = 2
_STARTS = 3

Verdict = Developed | Rejected
T = TypeVar("T")


class DecodingUnavailable(TransientFailure):
    """No decoding process can be had; nothing was judged. Transient."""


@dataclass
class _Chunk:
    images: list[bytes]
    future: Future[list[Verdict]]


class DecodePool:
    """Develops images in worker processes. Processes start at first use; close it, or use it as a context manager.

    `features` may be called from several threads at once; `map` from one at a time.

    Args:
        settings: decode_workers, decode_memory_mb, decode_timeout_seconds, and the limits of an image.
    """

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(settings.max_image_bytes, settings.max_pixels, settings.thumbnail_pixels)
        self._count = settings.decode_workers
        self._memory = settings.decode_memory_mb * 1024 * 1024
        self._timeout = settings.decode_timeout_seconds
        self._workers: _Workers | None = None
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
                if len(ahead) > 2 * self._count:
                    yield from self._results(ahead.popleft())
            while ahead:
                yield from self._results(ahead.popleft())
        finally:
            for waiting in ahead:
                waiting.future.cancel()

    def close(self) -> None:
        """End the worker processes; those that still decode are stopped."""
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _schedule(self, images: list[bytes], task: Callable[[Sequence[bytes]], list[T]]) -> Future[list[T]]:
        with self._lock:
            if self._workers is None or self._workers.stopped:
                limits = self.limits
                arguments = (limits.max_bytes, limits.max_pixels, limits.thumbnail_pixels, self._memory)
                try:
                    self._workers = _Workers(self._count, arguments)
                except OSError as error:
                    raise self._unavailable(str(error)) from error
            try:
                return self._workers.schedule(task, images, self._timeout)
            except RuntimeError as error:  # it was stopped this very moment
                raise self._unavailable(str(self._workers.stopped)) from error

    def _results(self, chunk: _Chunk) -> list[Verdict]:
        try:
            return self._wait(chunk.future)
        except (TaskFailed, TaskTimeout, WorkerLost):
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
            except TaskTimeout:
                late += 1
                if late < _PATIENCE:
                    continue
                return Rejected(
                    Reason.DECODE_TIMEOUT,
                    f"Decoding was stopped after {self._timeout:g} s, the longest for one image, {late} times.",
                )
            except WorkerLost as error:
                died += 1
                if died < _PATIENCE:
                    continue
                if error.exit_code == _KILLED:
                    return self._too_hungry()
                return Rejected(Reason.CORRUPT, f"The decoder died on it {died} times (exit code {error.exit_code}).")
            except TaskFailed as error:
                if error.kind == MemoryError.__name__:
                    return self._too_hungry()
                return Rejected(Reason.CORRUPT, f"Decoding failed with {error.kind}.")

    def _too_hungry(self) -> Rejected:
        return Rejected(
            Reason.DECODE_MEMORY,
            f"Decoding needed more than the {self._memory // 1024 // 1024} MiB that one image may use.",
        )

    def _wait(self, future: Future[list[T]]) -> list[T]:
        # No limit here: each start, task and end before it in the queue has its own.
        try:
            return future.result()
        except CancelledError:
            raise self._unavailable(_CLOSED) from None
        except _NoWorker as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> DecodingUnavailable:
        return DecodingUnavailable(
            f"Decoding in {self._count} processes is not possible: {why}. Nothing was judged. Is there memory and room "
            "for processes? The processes' own messages stand in this log."
        )


_CLOSED = "the pool was closed meanwhile"


class _NoWorker(Exception):
    """The task was not begun: no process takes it up any more. It says nothing about its images."""


class _Workers:
    """Worker processes, started at once, and as many threads that wait for their answers."""

    def __init__(self, count: int, arguments: tuple[int, ...]) -> None:
        self._arguments = arguments
        self.stopped: str | None = None
        """Why no task is taken any more."""
        self._lock = threading.Lock()
        self._all: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoding")
        try:
            for _ in range(count):
                self._add()
        except OSError:
            self.close()
            raise

    def schedule(
        self, task: Callable[[Sequence[bytes]], list[T]], images: list[bytes], seconds: float
    ) -> Future[list[T]]:
        return self._threads.submit(self._run, task, images, seconds)

    def close(self) -> None:
        self._stop(_CLOSED)
        self._threads.shutdown()
        for worker in self._all:
            worker.close()

    def _stop(self, why: str) -> None:
        with self._lock:
            self.stopped = self.stopped or why
            workers = list(self._all)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()  # which the thread that waits for it sees

    def _run(self, task: Callable[[Sequence[bytes]], list[T]], images: list[bytes], seconds: float) -> list[T]:
        lost: WorkerLost | None = None
        for _ in range(_STARTS):
            worker = self._take()
            try:
                answer = worker.ask(task, images, seconds)
            except TaskFailed:
                self._give_back(worker)
                raise
            except BaseException as error:
                self._replace(worker)
                if not isinstance(error, WorkerLost) or error.begun:
                    raise
                lost = error  # one that was idle; or none can start here
            else:
                self._give_back(worker)
                return answer
        self._stop(f"{_STARTS} processes in a row ended before they took up a task ({lost})")
        raise _NoWorker(self.stopped) from lost

    def _take(self) -> WorkerProcess:
        with self._lock:
            if self.stopped:
                raise _NoWorker(self.stopped)
            # The newest first: after a death it is the one that was started since.
            return self._idle.pop()

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._idle.append(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        worker.close()
        with self._lock:
            self._all.discard(worker)
            if self.stopped:
                raise _NoWorker(self.stopped)
        try:
            self._add()
        except OSError as error:
            self._stop(str(error))  # with one too few, some thread would find none to take
            raise _NoWorker(self.stopped) from error

    def _add(self) -> None:
        worker = WorkerProcess(decode_worker.start, self._arguments)
        with self._lock:
            self._all.add(worker)
            self._idle.append(worker)
        if self.stopped:
            worker.kill()


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
