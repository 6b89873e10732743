"""kill -9 of each part while clients send: what was acknowledged is in bronze once per offset and developed once.

One siege of all victims, then one check of every promise: a fault that is repaired wrongly shows whichever came
before it. `make soak` strikes with more, at random (tests/soak).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from cli.settle import wait_until_settled
from resources.kafka import watermarks
from resources.lake import open_lake
from tests.live_stack import LiveStack
from tests.run_workers import run_workers
from tests.system.history import History, Sender, violations
from transforms.envelope import NONCE_BYTES, EnvelopeError, clear_of
from transforms.retention import BRONZE
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES, RECOGNISED_IMAGES, RECOGNISED_STREAM

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]

SETTLE_SECONDS = 300


ANSWER_SECONDS = 45.0
"""How long after a kill an image must be acknowledged: a sender may wait out a delivery of 20 s to a dead broker."""


def _run_worker(stack: LiveStack, seconds: float = 90) -> psutil.Process:
    """The process of a run in progress, waited for."""
    server = psutil.Process(stack.pid("code-server"))
    dagster = stack.dagster()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            workers = run_workers(server)
            if workers and any(run.status == "STARTED" for run in dagster.unfinished()):
                return max(workers, key=lambda child: child.create_time())
            time.sleep(0.1)
    finally:
        dagster.close()
    raise AssertionError(f"no run started within {seconds:.0f} s while images were being sent")


def _strike_run(stack: LiveStack) -> None:
    """kill -9 the worker of a run in progress; where the run was quicker, that of the next."""
    while True:
        try:
            return _run_worker(stack).kill()
        except psutil.NoSuchProcess:
            continue


def kill_run(stack: LiveStack) -> None:
    """The worker of a run, while it lands or develops."""
    _strike_run(stack)


def kill_run_and_code_server(stack: LiveStack) -> None:
    """Both at once: nobody is left to say that the run ended."""
    server = stack.pid("code-server")
    _strike_run(stack)
    os.kill(server, signal.SIGKILL)


def _kill(name: str) -> Callable[[LiveStack], None]:
    def victim(stack: LiveStack) -> None:
        stack.kill(name)

    return victim


VICTIMS: dict[str, Callable[[LiveStack], None]] = {
    "run": kill_run,
    "broker": _kill("kafka"),
    "run and code server": kill_run_and_code_server,
    "upload instance": _kill("uploads-1"),
    "PostgreSQL": _kill("postgres"),
    "daemon": _kill("daemon"),
    "sign-in": _kill("signin-1"),
    "web server": _kill("webserver"),
    "gateway": _kill("gateway"),
}


@dataclass(frozen=True)
class Siege:
    """What clients were told during the siege, and the stack after it."""

    history: History
    lake: str
    topic_id: str
    acknowledged_after: dict[str, int]
    tried_again: int
    """Requests that the gateway gave to a second instance."""

    def violations(self) -> list[str]:
        """Every promise that was broken."""
        return list(violations(self.lake, self.history.acknowledged, self.topic_id))


def besiege(stack: LiveStack, first_seed: int) -> Siege:
    """Send without a pause, kill every victim in turn, wait until all is healthy and settled again."""
    token = stack.token("besieged")
    senders = [Sender([stack.url], Path(stack.ca), token, first_seed + 1_000_000 * n) for n in range(2)]
    for sender in senders:
        sender.start()
    after: dict[str, int] = {}
    log = stack.home / "logs" / "gateway.log"
    told = log.stat().st_size
    try:
        for name, strike in VICTIMS.items():
            strike(stack)
            stack.wait_healthy(timeout=180)
            before = sum(len(sender.history.acknowledged) for sender in senders)
            now, deadline = before, time.monotonic() + ANSWER_SECONDS
            time.sleep(2)
            while now == before and time.monotonic() < deadline:
                now = sum(len(sender.history.acknowledged) for sender in senders)
                time.sleep(0.2)
            after[name] = now - before
    finally:
        histories = [sender.stop() for sender in senders]
    merged = History()
    for history in histories:
        merged.acknowledged += history.acknowledged
        merged.refused += history.refused
    settings = stack.settings("operator")
    wait_until_settled(settings, stack.dagster(), SETTLE_SECONDS)
    lines = log.read_bytes()[told:].splitlines()
    again = sum(json.loads(line).get("tries", 0) > 1 for line in lines if line.startswith(b"{") and line.endswith(b"}"))
    return Siege(merged, settings.lake_root, watermarks(settings, settings.topic).topic_id, after, again)


@pytest.fixture(scope="module")
def siege(stack: LiveStack) -> Siege:
    """One round against the shared stack."""
    return besiege(stack, first_seed=10_000_000)


def test_every_acknowledged_image_is_in_bronze_once_and_developed_once(siege: Siege) -> None:
    assert len(siege.history.acknowledged) > 100, f"too few to prove anything; refusals: {siege.history.refused}"
    assert siege.violations() == []


def test_images_are_taken_again_after_each_kill(siege: Siege) -> None:
    silent = [name for name, count in siege.acknowledged_after.items() if count == 0]
    assert silent == [], f"nothing was acknowledged after the kill of {silent}; refusals: {siege.history.refused}"


def test_the_kills_struck_while_images_were_on_their_way_and_no_client_saw_more_than_try_again(siege: Siege) -> None:
    """A killed gateway breaks connections; all else it hides, or answers 503 with when to come again."""
    assert siege.tried_again, "no request was tried again though an instance was killed while sending"
    known = {"503", "ConnectError", "ReadError", "WriteError", "RemoteProtocolError"}
    assert set(siege.history.refused) <= known, dict(siege.history.refused)


def test_no_nonce_sealed_two_things_under_one_key_over_all_these_processes_and_restarts(
    stack: LiveStack, siege: Siege
) -> None:
    """Doors, runs, recogniser and their successors after each kill; a record that was sent twice is one thing."""
    lake = open_lake(stack.settings("operator"))
    sealed: dict[tuple[str, bytes], set[bytes]] = {}
    for spec in (RAW_IMAGES, PROCESSED_IMAGES, IMAGE_FEATURES, RECOGNISED_IMAGES, RECOGNISED_STREAM):
        bronze = spec in BRONZE
        columns = ("payload",) if bronze else spec.sealed
        rows = pl.scan_delta(lake.open(spec.name)).select("headers" if bronze else "key", *columns).collect()
        for first, *values in rows.iter_rows():
            key = _key_in(first) if bronze else first
            for value in filter(None, values if key else ()):
                sealed.setdefault((key, value[:NONCE_BYTES]), set()).add(hashlib.sha256(value).digest())
    assert len(sealed) > 5 * len(siege.history.acknowledged), "an image is sealed, and so are five things of it"
    assert [name for name, things in sealed.items() if len(things) > 1] == []


def _key_in(headers: list[dict[str, Any]] | None) -> str | None:
    try:
        clear = clear_of([(one["key"], one["value"]) for one in headers or ()])
    except EnvelopeError:
        return None
    return clear.key if clear is not None else None
