"""Uploads through the whole door against straight to an instance: requests a second, the added time and its parts, and
what more instances give.

Two clients in turn in one run, both over TLS with kept connections: one at the gateway with a token, one that shows an
instance the gateway's own certificate, as nobody else may. The client's own time is in all rates, for it runs on the
same cores; the ratio is therefore kinder than the door alone would be, and the processor time of gateway and instance
stands beside. What was sent ends in quarantine, as bytes behind a JPEG's first ones.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from access.gateway_edge import Address, Backend
from access.policy import load_policy
from benchmarks._stack import as_gateway, darkroom, status
from benchmarks.figures import Figure, median, spread
from resources.settings import Settings
from stack.gateway import GATEWAY, compiled, envoy
from stack.paths import Layout
from stack.ports import choose
from stack.services import SIGNIN, UPLOADS, Service, services, with_mark
from stack.state import StackState, load_state, stack_settings

SIZE, COUNT, REPEATS, UNDER_WAY, ROUNDS = 100_000, 300, 5, 8, 150
AIM = 0.5
WAIT_SECONDS = 60.0
_NO_IMAGE = "/v1/images/aaaaaaaaaaaaaaaaaaaaaaaaaa"


@dataclass(frozen=True)
class Door:
    """Where a client comes in, and how."""

    url: str
    trust: ssl.SSLContext
    token: str


def run() -> list[Figure]:
    """Rates, added time, and instances; some two minutes."""
    home = Path(os.environ["DARKROOM_HOME"])
    state, token = status(home), darkroom(home, "token").strip()
    outside = ssl.create_default_context(cafile=state["gateway"]["ca"])
    door = Door(state["gateway"]["url"], outside, token)
    straight = Door(state["services"][UPLOADS[0]]["url"], as_gateway(home), token)
    pids = {name: state["services"][name]["pid"] for name in (GATEWAY, *UPLOADS)}
    return [
        *_rates(door, straight, pids),
        *_added(door, straight, darkroom(home, "token", "--group", "sales").strip()),
        *_instances(home, outside, token),
    ]


def _rates(door: Door, straight: Door, pids: dict[str, int]) -> list[Figure]:
    gateway = psutil.Process(pids[GATEWAY])
    instances = [psutil.Process(pids[name]) for name in UPLOADS]
    through: list[float] = []
    direct: list[float] = []
    spent: list[float] = []
    served: list[float] = []
    for _ in range(REPEATS):
        before, busy = _cpu(gateway), sum(map(_cpu, instances))
        through.append(asyncio.run(_rate(door)))
        spent.append((_cpu(gateway) - before) / COUNT * 1000)
        served.append((sum(map(_cpu, instances)) - busy) / COUNT * 1000)
        direct.append(asyncio.run(_rate(straight)))
    ratios = [one / other for one, other in zip(through, direct, strict=True)]
    how = f"{COUNT} of {SIZE // 1000} kB, {UNDER_WAY} under way, {REPEATS} times in turn"
    return [
        Figure("uploads through the door / straight", median(ratios), "", AIM, detail=f"{how}; {spread(ratios)}"),
        Figure("  through the door, two instances", median(through), "requests/s", detail=spread(through)),
        Figure("  straight to one instance", median(direct), "requests/s", detail=spread(direct)),
        Figure("  processor time of the gateway", median(spent), "ms a request", detail=spread(spent)),
        Figure("  processor time of the instances", median(served), "ms a request", detail=spread(served)),
    ]


def _added(door: Door, straight: Door, without: str) -> list[Figure]:
    """One request at a time, four kinds in turn.

    Args:
        without: a good token of somebody whom the route is not for.
    """
    taken: dict[str, list[float]] = {"through": [], "straight": [], "alone": [], "refused": []}
    with _client(door) as gate, _client(straight) as bare:
        for _ in range(ROUNDS):
            image = _image()
            taken["through"].append(_took(lambda image=image: _sent(gate.post("/v1/images", content=image))))
            image = _image()
            taken["straight"].append(_took(lambda image=image: _sent(bare.post("/v1/images", content=image))))
            taken["alone"].append(_took(lambda: gate.get("/healthz").raise_for_status()))
            header = {"Authorization": f"Bearer {without}"}
            taken["refused"].append(_took(lambda header=header: _refused(gate.get(_NO_IMAGE, headers=header))))
    added = median(taken["through"]) - median(taken["straight"])
    judged = median(taken["refused"]) - median(taken["alone"])
    named = {name: f"median of {ROUNDS}, {spread(of)}" for name, of in taken.items()}
    return [
        Figure("added by the door", added, "ms", detail="one at a time, median through less median straight"),
        Figure("  through the door", median(taken["through"]), "ms", detail=named["through"]),
        Figure("  straight to an instance", median(taken["straight"]), "ms", detail=named["straight"]),
        Figure("  of it token, rate and role", judged, "ms", detail="a refused request less /healthz of the gateway"),
        Figure("  of it the second hop, and the image copied", added - judged, "ms", detail="what is left"),
    ]


def _instances(home: Path, outside: ssl.SSLContext, token: str) -> list[Figure]:
    """Rates of one, two and three instances behind gateways that differ in that alone."""
    counts = (1, 2, 3)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    with _instances_running(home, max(counts)) as ports:
        for _ in range(REPEATS):
            for count in counts:
                with _gateway(home, ports[:count], outside) as url:
                    rates[count].append(asyncio.run(_rate(Door(url, outside, token))))
    return [
        Figure(f"requests a second, {count} instance{'s' * (count > 1)}", median(of), "requests/s", detail=spread(of))
        for count, of in rates.items()
    ]


async def _rate(door: Door) -> float:
    """Images a second."""
    images = itertools.chain([_image() for _ in range(COUNT)])
    async with httpx.AsyncClient(**_how(door)) as client:
        _sent(await client.post("/v1/images", content=_image()))  # connected before the clock runs

        async def work() -> None:
            for image in images:
                _sent(await client.post("/v1/images", content=image))

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(UNDER_WAY)))
        return COUNT / (time.perf_counter() - began)


@contextmanager
def _instances_running(home: Path, count: int) -> Iterator[list[int]]:
    """So many upload instances beside the stack's own, as it starts its own; their ports."""
    layout, state = Layout(home), load_state(home)
    line = next(one for one in services(layout, state, stack_settings(home, "admin")) if one.name == UPLOADS[0])
    ports = list(choose([str(one) for one in range(count)], {}, [])[0].values())
    began: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for port in ports:
                with Path(folder, f"{port}.log").open("wb") as log:
                    began.append(_start(line, state, port, log.fileno()))
            for port in ports:
                _until(f"https://127.0.0.1:{port}/readyz", as_gateway(home))
            yield ports
        finally:
            _end(began)


def _start(line: Service, state: StackState, port: int, log: int) -> subprocess.Popen[bytes]:
    command = list(line.command)
    command[command.index("--port") + 1] = str(port)
    # It is this benchmark's, and not the stack's to stop.
    around = {name: value for name, value in with_mark(line, state).items() if not name.startswith("DARKROOM_STACK")}
    return subprocess.Popen(command, env=around, stdout=log, stderr=log)


@contextmanager
def _gateway(home: Path, ports: Sequence[int], trust: ssl.SSLContext) -> Iterator[str]:
    """A gateway with the stack's policy before these upload instances; its address."""
    layout, state, settings = Layout(home), load_state(home), stack_settings(home, "admin")
    port = choose([GATEWAY], {}, [])[0][GATEWAY]
    with tempfile.TemporaryDirectory() as folder:
        own = state.model_copy(update={"ports": {**state.ports, GATEWAY: port}, "run": Path(folder)})
        file = Path(folder, "envoy.json")
        file.write_text(compiled(layout, own, settings, load_policy(), _behind(state, settings, ports)))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "error"]
        with Path(folder, "envoy.log").open("wb") as log:
            process = subprocess.Popen(
                [str(envoy()), "--config-path", str(file), *options], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            url = f"https://127.0.0.1:{port}"
            # The path of an image is answered once the keys of tokens are there and an instance is healthy.
            _until(f"{url}{_NO_IMAGE}", trust, {401})
            time.sleep(2)
            yield url
        finally:
            _end([process])


def _behind(state: StackState, settings: Settings, ports: Sequence[int]) -> dict[str, Backend]:
    def of(numbers: Sequence[int]) -> Backend:
        return Backend((tuple(Address("127.0.0.1", number) for number in numbers),))

    return {"uploads": of(ports), "signin": of([state.ports[name] for name in SIGNIN])}


def _until(url: str, trust: ssl.SSLContext, wanted: set[int] | None = None) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    said: object = "nothing"
    while time.monotonic() < deadline:
        try:
            said = httpx.get(url, verify=trust, timeout=5, trust_env=False).status_code
            if said in (wanted or {200}):
                return
        except httpx.HTTPError as error:
            said = error
        time.sleep(0.2)
    raise RuntimeError(f"{url} said {said} after {WAIT_SECONDS:.0f} s")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


def _client(door: Door) -> httpx.Client:
    return httpx.Client(**_how(door))


def _how(door: Door) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {door.token}"}
    return {"base_url": door.url, "verify": door.trust, "headers": headers, "timeout": 60, "trust_env": False}


def _image() -> bytes:
    return b"\xff\xd8\xff\xe0" + os.urandom(SIZE - 4)


def _sent(answer: httpx.Response) -> None:
    if answer.status_code not in (200, 201, 202):
        raise RuntimeError(f"{answer.url} answered {answer.status_code}: {answer.text[:300]}")


def _refused(answer: httpx.Response) -> None:
    if answer.status_code != 403:
        raise RuntimeError(f"{answer.url} answered {answer.status_code}, and 403 was due")


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])
