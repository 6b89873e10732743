"""Uploads through the whole door against straight to an instance: requests a second, the added time and its parts, and
what more instances give.

Two clients in turn in one run, both over TLS with kept connections: one at the gateway with a token, one that shows an
instance the gateway's own certificate, as nobody else may. The client's own time is in all rates, for it runs on the
same cores; the ratio is therefore kinder than the door alone would be, and the processor time of gateway and instance
stands beside. What was sent ends in quarantine, as bytes behind a JPEG's first ones.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from access.gateway_edge import Address, Backend
from access.policy import load_policy
from benchmarks._door import UNDER_WAY, Door, cpu_of, end, image_of, instances_running, send_all, taken, until
from benchmarks._stack import as_gateway, darkroom, status
from benchmarks.figures import Figure, median, spread
from resources.settings import Settings
from stack.gateway import GATEWAY, compiled, envoy
from stack.paths import Layout
from stack.ports import choose
from stack.services import SIGNIN, UPLOADS
from stack.state import StackState, load_state, stack_settings

SIZE, COUNT, REPEATS, ROUNDS = 100_000, 300, 5, 150
AIM = 0.5
_NO_IMAGE = "/v1/images/aaaaaaaaaaaaaaaaaaaaaaaaaa"


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
        before, busy = cpu_of(gateway), sum(map(cpu_of, instances))
        through.append(_rate(door))
        spent.append((cpu_of(gateway) - before) / COUNT * 1000)
        served.append((sum(map(cpu_of, instances)) - busy) / COUNT * 1000)
        direct.append(_rate(straight))
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
    times: dict[str, list[float]] = {"through": [], "straight": [], "alone": [], "refused": []}
    with door.client() as gate, straight.client() as bare:
        for _ in range(ROUNDS):
            image = image_of(SIZE)
            times["through"].append(_took(lambda image=image: taken(gate.post("/v1/images", content=image))))
            image = image_of(SIZE)
            times["straight"].append(_took(lambda image=image: taken(bare.post("/v1/images", content=image))))
            times["alone"].append(_took(lambda: gate.get("/healthz").raise_for_status()))
            header = {"Authorization": f"Bearer {without}"}
            times["refused"].append(_took(lambda header=header: _refused(gate.get(_NO_IMAGE, headers=header))))
    added = median(times["through"]) - median(times["straight"])
    judged = median(times["refused"]) - median(times["alone"])
    named = {name: f"median of {ROUNDS}, {spread(of)}" for name, of in times.items()}
    return [
        Figure("added by the door", added, "ms", detail="one at a time, median through less median straight"),
        Figure("  through the door", median(times["through"]), "ms", detail=named["through"]),
        Figure("  straight to an instance", median(times["straight"]), "ms", detail=named["straight"]),
        Figure("  of it token, rate and role", judged, "ms", detail="a refused request less /healthz of the gateway"),
        Figure("  of it the second hop, and the image copied", added - judged, "ms", detail="what is left"),
    ]


def _instances(home: Path, outside: ssl.SSLContext, token: str) -> list[Figure]:
    """Rates of one, two and three instances behind gateways that differ in that alone."""
    counts = (1, 2, 3)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    with instances_running(home, ["services.uploads"] * max(counts)) as instances:
        ports = [one.port for one in instances]
        for _ in range(REPEATS):
            for count in counts:
                with _gateway(home, ports[:count], outside) as url:
                    rates[count].append(_rate(Door(url, outside, token)))
    return [
        Figure(f"requests a second, {count} instance{'s' * (count > 1)}", median(of), "requests/s", detail=spread(of))
        for count, of in rates.items()
    ]


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
            until(f"{url}{_NO_IMAGE}", trust, 401)
            time.sleep(2)
            yield url
        finally:
            end([process])


def _behind(state: StackState, settings: Settings, ports: Sequence[int]) -> dict[str, Backend]:
    def of(numbers: Sequence[int]) -> Backend:
        return Backend((tuple(Address("127.0.0.1", number) for number in numbers),))

    return {"uploads": of(ports), "signin": of([state.ports[name] for name in SIGNIN])}


def _rate(door: Door) -> float:
    """Images a second."""
    return asyncio.run(send_all(door, SIZE, COUNT))[0]


def _refused(answer: httpx.Response) -> None:
    if answer.status_code != 403:
        raise RuntimeError(f"{answer.url} answered {answer.status_code}, and 403 was due")


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
