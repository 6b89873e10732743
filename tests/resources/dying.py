"""A process that dies in the middle of its work: kill -9 at a chosen call of a method.

Nothing of it runs afterwards, no `finally` and no `with`, and its locks are the kernel's to take back. The processes
come from a server that has the modules loaded and has started no thread yet (`forkserver`): a fork of the process that
runs the tests would inherit the locks of Delta's and the object store's threads.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

Stage = TypeVar("Stage")
SECONDS = 120


def killed_at(work: Callable[[Stage], object], stage: Stage, owner: type | str, name: str, calls: int) -> None:
    """Do some work in a process of its own, which kill -9 ends at the call of a method after so many.

    Args:
        work: a function of a module; says so itself if it has to patch something there.
        stage: what it works on; travels by pickle.
        owner: the class whose method it is, or the name of the module whose function.
        name: the method or function.
        calls: how many calls of it are let through.

    Raises:
        AssertionError: it ended otherwise: the step never came.
    """
    process = _processes(work.__module__).Process(target=_die, args=(work, stage, owner, name, calls))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"{work.__name__} did not come to {owner}.{name} in {SECONDS} s.")
    assert process.exitcode == -signal.SIGKILL, f"{work.__name__} ended with {process.exitcode}, not by kill -9."


@cache
def _processes(module: str) -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, module])
    return context


def _die(work: Callable[[Any], object], stage: object, owner: Any, name: str, calls: int) -> None:
    if isinstance(owner, str):
        owner = import_module(owner)
    real, left = getattr(owner, name), calls

    def dying(*given: Any, **named: Any) -> Any:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*given, **named)

    setattr(owner, name, dying)
    work(stage)
