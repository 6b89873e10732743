"""Signing in on the running stack: the directory's share of it, and what a further token costs.

The floor is LDAP alone: the same questions, asked by this process without the service (search by the reader, bind with
the password, groups). Three kinds of request go in turn, so that a noisy machine is noisy for all of them; medians and
spreads of the repeats stand side by side, with the service's own processor seconds a request.
"""

from __future__ import annotations

import os
import secrets
import time
import uuid
from pathlib import Path

import httpx
import psutil

from benchmarks._stack import as_gateway
from benchmarks.figures import Figure, median, spread
from resources.directory import Directory
from resources.settings import Settings
from stack.directory import DIRECTORY, people
from stack.paths import Layout
from stack.services import SIGNIN
from stack.state import load_state, stack_settings
from stack.status import describe

ROUNDS = 60


def run() -> list[Figure]:
    """Measure; some ten seconds."""
    home = Path(os.environ["DARKROOM_HOME"])
    layout, state = Layout(home), load_state(home)
    directory = people(layout, state.ports[DIRECTORY])
    name, password = f"bench-{uuid.uuid4().hex[:8]}", secrets.token_urlsafe(16)
    directory.put(name, ["image-uploaders", "sales"], password)
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{state.ports[SIGNIN[0]]}",
            verify=as_gateway(home),
            timeout=30,
        ) as client:
            return _figures(client, stack_settings(home, "signin"), home, {"name": name, "password": password})
    finally:
        directory.remove(name)


def _figures(client: httpx.Client, settings: Settings, home: Path, credentials: dict[str, str]) -> list[Figure]:
    ldap = Directory(settings)
    service = psutil.Process(describe(home)["services"][SIGNIN[0]]["pid"])
    whole: list[float] = []
    alone: list[float] = []
    further: list[float] = []
    first = client.post("/v1/session", json=credentials).raise_for_status().json()
    session = {"Authorization": f"Bearer {first['session']}"}
    before = _cpu(service)
    for _ in range(ROUNDS):
        whole.append(_took(lambda: client.post("/v1/session", json=credentials).raise_for_status()))
        alone.append(_took(lambda: ldap.sign_in(**credentials)))
        further.append(_took(lambda: client.post("/v1/token", headers=session).raise_for_status()))
    spent = (_cpu(service) - before) / (2 * ROUNDS)
    return [
        Figure("signing in", median(whole), "ms", detail=f"median of {ROUNDS}, {spread(whole)}; one client"),
        Figure("  the directory alone, asked from here", median(alone), "ms", detail=spread(alone)),
        Figure("  signing in / the directory alone", median(whole) / median(alone), "times"),
        Figure("a further token", median(further), "ms", detail=f"{spread(further)}; the directory is asked again"),
        Figure("processor time of the service a request", spent * 1000, "ms"),
    ]


def _took(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - began) * 1000


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
