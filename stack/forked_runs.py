"""Processes of runs, forked from one that has imported everything: a multiprocessing context.

A run ends with the process that it was forked from: when that one is killed, the code server takes its runs for failed,
and a second run would write beside one that is still at work. So the kernel tells it to end (Linux; elsewhere it goes
on to its end, and what it commits stands).
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing.forkserver
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess

FORKS = "multiprocessing.forkserver"
"""In the command line of the process that runs are forked from, and so in theirs."""
_PR_SET_PDEATHSIG = 1


class RunProcess(ForkServerProcess):
    """A run's process."""

    def run(self) -> None:
        """Be bound to the parent, then do what was asked."""
        if sys.platform == "linux":
            # As when it is cancelled: what is at work may finish its commit.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # What was imported stays for good: the collector need not look at it, and memory stays shared.
        gc.freeze()
        super().run()


class RunContext(ForkServerContext):
    """Where runs' processes come from."""

    Process = RunProcess


def begin(modules: Sequence[str]) -> RunContext:
    """Start the process that they are forked from, which imports these modules; returns at once.

    A module that cannot be imported is left out there without a word (so multiprocessing does it), and each run tries
    anew.
    """
    context = RunContext()
    context.set_forkserver_preload(list(modules))
    # Now and not with the first run: who starts that one would wait for all imports.
    multiprocessing.forkserver.ensure_running()
    return context
