"""A process of our own that does tasks one at a time, and may be timed out, killed or crash.

Mechanism: each process is spawned (never forked: Kafka clients do not survive a fork) and has a pipe of its own, of
whose far end nobody else holds a copy. So a death is the end of a file, seen at once and in the middle of a message
too, and no lock can be left behind that another process waits for. Pools over one shared queue (pebble,
concurrent.futures) have such locks, and cannot tell whose task a process died on before it said so.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

A = TypeVar("A")
R = TypeVar("R")

START_SECONDS = 120.0
"""For a process to load what it needs, or to take up a task: far more than it takes on a loaded machine."""
_END_SECONDS = 10.0
_READY, _BEGUN, _DONE, _FAILED = "ready", "begun", "done", "failed"


class WorkerLost(Exception):
    """A process died.

    Args:
        exit_code: as `multiprocessing.Process.exitcode`; below 0 for a signal, None where it is not known.
        begun: whether it had taken up the task; if not, the task has nothing to do with it.
    """

    def __init__(self, exit_code: int | None, *, begun: bool) -> None:
        self.exit_code = exit_code
        self.begun = begun
        super().__init__(f"the process ended with exit code {exit_code} {'in' if begun else 'before'} its task")


class TaskTimeout(Exception):
    """A task took longer than it may; its process is of no more use."""


class TaskFailed(Exception):
    """A task raised; `kind` is its exception's class. The exception itself stays where it was: it need not travel."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"the task failed with {kind}")


class WorkerProcess:
    """Starts a process without waiting for it. Use it from one thread at a time; only `kill` may come from another.

    Args:
        start: called once in the process, before its first task; must be importable by name there.
        arguments: of `start`.
    """

    def __init__(self, start: Callable[..., None], arguments: Sequence[Any]) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(theirs, start, arguments), daemon=True)
        self._ready = False
        with _lifecycle:
            self._process.start()
        theirs.close()

    def ask(self, task: Callable[[A], R], argument: A, seconds: float) -> R:
        """The task's result. After any error but TaskFailed, the process is of no more use: `kill` it.

        Args:
            task: importable by name in the process.
            argument: travels by pickle, as the result does.
            seconds: counted from when the process has taken up the task.

        Raises:
            TaskFailed: it raised; the process is ready for another.
            TaskTimeout: it took longer.
            WorkerLost: the process died, before the task or in it.
        """
        begun = False
        try:
            if not self._ready:
                self._expect(_READY)
                self._ready = True
            self._pipe.send(task)
            self._expect(_BEGUN)
            begun = True
            self._pipe.send(argument)
            if not self._pipe.poll(seconds):
                raise TaskTimeout(f"no result in {seconds:g} s")
            outcome, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerLost(self._ended(), begun=begun) from error
        if outcome == _FAILED:
            raise TaskFailed(answer)
        return answer

    def kill(self) -> None:
        """End the process, whatever it does, and wait until it is gone. Harmless when it is gone already."""
        with _lifecycle:
            self._process.kill()
            self._process.join()

    def close(self) -> None:
        """`kill` it, and give back the pipe."""
        self.kill()
        self._pipe.close()

    def _expect(self, word: str) -> None:
        if not self._pipe.poll(START_SECONDS):
            raise TimeoutError(f"a process did not say that it is {word} in {START_SECONDS:g} s")
        if (said := self._pipe.recv()) != word:
            raise RuntimeError(f"a process said {said!r:.100} where {word!r} was expected")

    def _ended(self) -> int | None:
        with _lifecycle:
            self._process.join(_END_SECONDS)
            return self._process.exitcode


def serve(pipe: Connection, start: Callable[..., None], arguments: Sequence[Any]) -> None:
    """What the process does: tasks, until the other end of its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    start(*arguments)
    try:
        pipe.send(_READY)
        while True:
            task = pipe.recv()
            pipe.send(_BEGUN)
            pipe.send(_outcome(task, pipe.recv()))
    except (EOFError, OSError):
        return  # nobody waits for an answer any more


def _outcome(task: Callable[[Any], Any], argument: Any) -> tuple[str, Any]:
    try:
        return _DONE, task(argument)
    except Exception as error:
        return _FAILED, type(error).__name__


class _BareProcess(SpawnProcess):
    """A spawned process that does not import its parent's main module.

    `spawn` runs the parent's main script again in every child; under Dagster's console script that is 2.6 CPU-seconds
    and 250 MB for nothing. What a worker needs is named by its task.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from multiprocessing.popen_spawn_posix import Popen

        # Under _lifecycle, as every start is: the blank stands for a moment only, and for one start.
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


_SPAWN = _BareSpawn()
_lifecycle = threading.Lock()
"""Held where processes start and are waited for: multiprocessing waits for all its dead at each start, and of two
threads that wait for one process, one learns nothing."""
