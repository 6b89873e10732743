"""Processor time of a process and all that it started."""

from __future__ import annotations

import psutil


def family_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, of those that live below it, and of those that ended and were waited for."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
