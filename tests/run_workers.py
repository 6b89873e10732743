"""The processes of runs on a stack: the code server's, forked from a process that has its definitions loaded."""

from __future__ import annotations

import psutil

from stack.forked_runs import FORKS


def run_workers(server: psutil.Process) -> list[psutil.Process]:
    """The processes of runs in progress, those that they started themselves left out.

    Args:
        server: the code server, which starts the process that forks (`stack/run_server.py`).
    """
    return [worker for fork in server.children() if _forks(fork) for worker in _children(fork)]


def _forks(process: psutil.Process) -> bool:
    try:
        return any(FORKS in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []
