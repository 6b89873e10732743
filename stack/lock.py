"""One command at a time changes a stack: two `up`s at once would choose ports and start servers twice."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stack.errors import StackError
from stack.paths import Layout

WAIT_SECONDS = 300.0


@contextmanager
def exclusively(layout: Layout, say: Callable[[str], None], name: str = "lock") -> Iterator[None]:
    """Hold the stack's lock; waits for another command, and says so. The kernel frees it when a holder dies.

    Args:
        name: of the lock, a file in HOME/state; by default the one of what changes the stack itself.

    Raises:
        StackError: the other command is still at it after five minutes.
    """
    layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Servers must not inherit it: they outlive the command.
    descriptor = os.open(layout.state / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + WAIT_SECONDS
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode() or "?"
                if not told:
                    say(f"Another darkroom command (pid {holder}) is changing this stack: waiting for it.")
                    told = True
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Another darkroom command (pid {holder}) has held {layout.state / name} for over "
                        f"{WAIT_SECONDS:.0f} s. See what it does, or end it."
                    ) from None
                time.sleep(0.2)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
