"""Clients of the upload service, at the gateway or at an instance, and instances of a benchmark's own.

What is sent are bytes behind a JPEG's first ones: it ends in quarantine, so that developing costs little.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks._stack import as_gateway
from stack.paths import Layout
from stack.ports import choose
from stack.services import UPLOADS, Service, services, with_mark
from stack.state import StackState, load_state, stack_settings

UNDER_WAY = 8
"""Requests of a client at once."""
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Door:
    """Where a client comes in, and how."""

    url: str
    trust: ssl.SSLContext
    token: str

    def client(self) -> httpx.Client:
        """One for a request at a time."""
        return httpx.Client(**self._how())

    def clients(self) -> httpx.AsyncClient:
        """One for many at once."""
        return httpx.AsyncClient(**self._how())

    def _how(self) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {self.token}"}
        return {"base_url": self.url, "verify": self.trust, "headers": headers, "timeout": 60, "trust_env": False}


@dataclass(frozen=True)
class Instance:
    """One upload instance of a benchmark's own."""

    port: int
    process: psutil.Process


def image_of(size: int) -> bytes:
    """What no image before it was, of so many bytes."""
    return b"\xff\xd8\xff\xe0" + os.urandom(size - 4)


def taken(answer: httpx.Response) -> None:
    """Raise unless the image was taken."""
    if answer.status_code not in (200, 201, 202):
        raise RuntimeError(f"{answer.url} answered {answer.status_code}: {answer.text[:300]}")


async def send_all(door: Door, size: int, count: int) -> tuple[float, list[float]]:
    """Send images, `UNDER_WAY` at once.

    Returns:
        Images a second, and the milliseconds that each took.
    """
    images, times = itertools.chain([image_of(size) for _ in range(count)]), []
    async with door.clients() as client:
        taken(await client.post("/v1/images", content=image_of(size)))  # connected before the clock runs

        async def work() -> None:
            for image in images:
                asked = time.perf_counter()
                taken(await client.post("/v1/images", content=image))
                times.append((time.perf_counter() - asked) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(UNDER_WAY)))
        return count / (time.perf_counter() - began), times


@contextmanager
def instances_running(home: Path, modules: Sequence[str]) -> Iterator[list[Instance]]:
    """Upload instances beside the stack's own, as it starts its own, each of a module such as `services.uploads`."""
    layout, state = Layout(home), load_state(home)
    line = next(one for one in services(layout, state, stack_settings(home, "admin")) if one.name == UPLOADS[0])
    ports = list(choose([str(number) for number in range(len(modules))], {}, [])[0].values())
    began: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for port, module in zip(ports, modules, strict=True):
                with Path(folder, f"{port}.log").open("wb") as log:
                    began.append(_start(line, state, module, port, log.fileno()))
            for port in ports:
                until(f"https://127.0.0.1:{port}/readyz", as_gateway(home))
            yield [Instance(port, psutil.Process(one.pid)) for port, one in zip(ports, began, strict=True)]
        finally:
            end(began)


def _start(line: Service, state: StackState, module: str, port: int, log: int) -> subprocess.Popen[bytes]:
    command = list(line.command)
    command[command.index("-m") + 1] = module
    command[command.index("--port") + 1] = str(port)
    # It is this benchmark's, and not the stack's to stop.
    around = {name: value for name, value in with_mark(line, state).items() if not name.startswith("DARKROOM_STACK")}
    return subprocess.Popen(command, env=around, stdout=log, stderr=log, cwd=Path(__file__).parents[1])


def until(url: str, trust: ssl.SSLContext, wanted: int = 200) -> None:
    """Wait until an address answers with this status."""
    deadline = time.monotonic() + WAIT_SECONDS
    said: object = "nothing"
    while time.monotonic() < deadline:
        try:
            said = httpx.get(url, verify=trust, timeout=5, trust_env=False).status_code
            if said == wanted:
                return
        except httpx.HTTPError as error:
            said = error
        time.sleep(0.2)
    raise RuntimeError(f"{url} said {said} after {WAIT_SECONDS:.0f} s")


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop them, and wait until they are gone."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    return sum(process.cpu_times()[:2])
