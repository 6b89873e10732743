"""Processor time and memory of a process and all that it started."""

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


def family_memory(process: psutil.Process) -> float:
    """MB in memory of a process and of those that live below it; what several share is counted once (Linux, PSS)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6
