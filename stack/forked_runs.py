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
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

FORKS = "multiprocessing.forkserver"
"""In the command line of the process that runs are forked from, and so in theirs."""
_PR_SET_PDEATHSIG = 1
_INTERVAL = "interval_to_next_pending_claim_check"


class RunProcess(ForkServerProcess):
    """A run's process."""

    def run(self) -> None:
        """Be bound to the parent, then do what was asked."""
        if sys.platform == "linux":
            # As when it is cancelled: what is at work may finish its commit.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # What was imported stays for good: the collector need not look at it, and memory stays shared.
        gc.freeze()
        wait_for_pools()
        super().run()


class RunContext(ForkServerContext):
    """Where runs' processes come from."""

    Process = RunProcess


def wait_for_pools() -> None:
    """Have a run that waits for a pool sleep until it is to ask again.

    Dagster 1.13.27 takes the smallest of 0 and the times that are left, which is 0, and asks itself as fast as it can:
    a whole core for as long as another run has the table. `test_dagster_itself_does_not_wait` says when this can go.
    """
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

    setattr(InstanceConcurrencyContext, _INTERVAL, seconds_to_next_claim)


def seconds_to_next_claim(context: InstanceConcurrencyContext) -> float:
    """Seconds until the first of the steps that wait for a pool is to ask again; 0 where none waits."""
    now = time.time()
    return max(0.0, min((at - now for at in context._pending_timeouts.values()), default=0.0))


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
