"""Which processes belong to a stack, supervised or not.

Every process of a stack carries the stack's id and its service's name in its environment and hands both to its
children: run workers and decoders too. That, and the pids remembered with their start time, finds every one of them
after the supervisor was killed. Built on psutil. Limit: another user's processes cannot be read, and need not be.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from stack.state import Remembered, StackState

STACK = "DARKROOM_STACK"
SERVICE = "DARKROOM_SERVICE"
HOME = "DARKROOM_HOME"
SUPERVISOR = "supervisor"


def marks(process: psutil.Process) -> tuple[str, str, str] | None:
    """Stack id, service and home that a process carries; None for a process of no stack, or of a closed one."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    if STACK not in environment:
        return None
    return environment[STACK], environment.get(SERVICE, ""), environment.get(HOME, "")


def remember(name: str, pid: int) -> Remembered | None:
    """A process by pid and start time; None when it is gone already."""
    try:
        return Remembered(name=name, pid=pid, started=psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(remembered: Remembered) -> psutil.Process | None:
    """The remembered process if it still runs; a pid that was given away again is not it."""
    try:
        process = psutil.Process(remembered.pid)
        if abs(process.create_time() - remembered.started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        return None
    return None


def living(state: StackState) -> dict[str, list[psutil.Process]]:
    """Every living process of the stack by service, this command's own line of parents left out."""
    kin = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, tuple[str, psutil.Process]] = {}
    for process in psutil.process_iter():
        mark = marks(process)
        if mark is not None and mark[0] == state.id:
            # PostgreSQL's processes write their titles over their environment, and lose half of it.
            found[process.pid] = (mark[1] or process.name(), process)
    for remembered in state.processes:
        process = alive(remembered)
        if process is not None:
            found.setdefault(process.pid, (remembered.name, process))
    for process in postgres_in(state.postgres.data) if state.postgres is not None else ():
        found.setdefault(process.pid, ("postgres", process))
    # What carries no name belongs to its nearest parent that does: a backend to PostgreSQL, not to the supervisor.
    todo = list(found.values())
    while todo:
        name, process = todo.pop()
        if process.pid == os.getpid():
            continue  # what this command itself started ends with it
        for child in _children(process):
            if child.pid not in found:
                found[child.pid] = (name, child)
                todo.append((name, child))
    services: dict[str, list[psutil.Process]] = {}
    for pid, (name, process) in found.items():
        if pid not in kin and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            services.setdefault(name, []).append(process)
    return services


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def postgres_in(data: Path) -> list[psutil.Process]:
    """PostgreSQL's processes that work in this data directory: a server, its sessions, and those a dead server left.

    Neither its pid file (a pid may be another program's by now) nor the environment (a session writes its title over
    it) tells them all; each of them has the data directory as its working directory.
    """
    where = os.path.realpath(data)
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() == where:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def left_sessions(data: Path, supervisor: int) -> list[psutil.Process]:
    """Sessions whose server is dead: those in this data directory that do not descend from the supervisor.

    A session notices its server's death by itself, unless it hangs. Until the last one is gone, no new server starts
    ("pre-existing shared memory block is still in use").
    """
    return [one for one in postgres_in(data) if supervisor not in {parent.pid for parent in _parents(one)}]


def end_services(
    found: dict[str, list[psutil.Process]], waves: Sequence[Sequence[str]], seconds: float = 20.0
) -> list[str]:
    """End the stack's processes: the supervisor first (it would start them again), then services by wave, then strays.

    Each is asked to end, and killed when it has not within `seconds`.

    Returns:
        One sentence per service that had to be killed.
    """
    strays = sorted(set(found) - {SUPERVISOR, *(name for wave in waves for name in wave)})
    said = []
    for wave in ((SUPERVISOR,), *waves, strays):
        processes = {process: name for name in wave for process in _heads(name, found.get(name, []))}
        for process, name in processes.items():
            # PostgreSQL's fast shutdown; its slow one waits until every client has gone.
            _signal(process, signal.SIGINT if name == "postgres" else signal.SIGTERM)
        _, stubborn = psutil.wait_procs(processes, timeout=seconds)
        kill(stubborn)
        said += [f"{processes[one]} ({one.pid}) did not end within {seconds:.0f} s and was killed." for one in stubborn]
    return said


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill these, and wait until they are gone."""
    for process in processes:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=5)


def _heads(name: str, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those to signal: of PostgreSQL only the server, for ending a backend by itself looks like a crash."""
    if name != "postgres":
        return processes
    pids = {process.pid for process in processes}
    return [process for process in processes if _parent(process) not in pids]


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def other_stacks(state: StackState) -> dict[str, str]:
    """Homes of other stacks whose supervisor runs on this machine, by stack id."""
    others = {}
    for process in psutil.process_iter():
        mark = marks(process)
        if mark is not None and mark[0] != state.id and mark[1] == SUPERVISOR:
            others[mark[0]] = mark[2]
    return others


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.1) -> bool:
    """Whether `condition()` became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
