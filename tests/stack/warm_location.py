"""A code location of one function beside the platform's own, for `test_run_server`."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import platform_assets.definitions  # noqa: F401 - what is imported once for all runs

IMPORTED_BY = os.getpid()


def tell(queue: Queue[Any]) -> None:
    """Put what this process knows of itself."""
    parent = os.getppid()
    threads = [(one / "comm").read_text().strip() for one in Path(f"/proc/{parent}/task").iterdir()]
    told = {"pid": os.getpid(), "parent": parent, "imported_by": IMPORTED_BY, "threads_of_parent": sorted(threads)}
    queue.put({**told, "modules": sorted(sys.modules)})


def wait(queue: Queue[Any]) -> None:
    """Say which process this is, and stay."""
    queue.put(os.getpid())
    time.sleep(600)
