"""One soak: a stack under load, strikes by the plan, rest, and the comparison."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cli.dagster_api import DagsterAway
from cli.settle import wait_until_settled
from resources.kafka import watermarks
from stack.people import person_dsn
from tests.live_stack import LiveStack, run_darkroom, tear_down
from tests.soak import links
from tests.soak.checking import unjudged, wrong_items
from tests.soak.faults import FAULTS, Scene, deck, mounted_at
from tests.soak.plan import Strike, plan
from tests.soak.traffic import JobStarter, RightsWatch, ShopWriter, Stalls, digit, photograph
from tests.system.history import Sender, violations

HEALTHY_SECONDS = 240.0
SETTLE_SECONDS = 900.0
MARK = "soak"
CACHE_SECONDS = 2
"""So soon does a stack notice that its keys are switched off, and on."""
DISK_MEGABYTES = 16 * 1024
"""Of the file system; in memory is what is written, and no more."""
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a soak found.

    `broken` are the promises that do not hold, as sentences; empty is what is hoped for.
    """

    seed: int
    minutes: float
    strikes: list[Strike] = field(default_factory=list)
    recovery: dict[str, list[float]] = field(default_factory=dict)
    """By kind of fault: seconds from its end until the next image was acknowledged."""
    longest_stall: float = 0.0
    """Seconds in which no image was acknowledged, faults included."""
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    records: int = 0
    """Of all partitions of the topic of images."""
    changes: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    """Points of enforcement that were compared with the policy, and were there to be asked."""
    broken: list[str] = field(default_factory=list)


@contextmanager
def soaked_stack() -> Iterator[Scene]:
    """A stack of its own, on a file system of its own where one can be mounted (by root, with the right to)."""
    area = Path(tempfile.mkdtemp(prefix="darkroom-soak-"))
    mounted = mounted_at(area, DISK_MEGABYTES)
    area.chmod(0o711)
    home = area / "home"
    try:
        done = run_darkroom(home, "up", DARKROOM_KEY_CACHE_SECONDS=str(CACHE_SECONDS))
        if done.returncode != 0:
            raise AssertionError(f"darkroom up gave {done.returncode}:\n{done.stdout}\n{done.stderr}")
        yield Scene(LiveStack(home), area if mounted else None)
    finally:
        tear_down(home)
        if mounted:
            subprocess.run(["umount", "--lazy", str(area)], check=False, capture_output=True)
        shutil.rmtree(area, ignore_errors=True)


def soak(minutes: float, seed: int, say: Say) -> Outcome:
    """Run one soak on a stack of its own.

    Args:
        minutes: of load and faults; starting, settling and checking come to it.
        seed: of the plan and of what the clients do.
        say: told what happens, a line each.
    """
    with soaked_stack() as scene:
        if scene.disk is None:
            say("no file system of its own could be mounted: the disk is not filled")
        if not links.own_network():
            say("no network of its own could be had (it takes root, iproute2 and nftables): no link is cut")
        strikes = plan(seed, minutes * 60, deck(disk=scene.disk is not None, network=links.own_network()))
        say(f"seed {seed}: {len(strikes)} strikes in {minutes:g} minutes")
        return _Siege(scene, Outcome(seed, minutes, strikes), say).run()


class _Siege:
    def __init__(self, scene: Scene, outcome: Outcome, say: Say) -> None:
        self._scene = scene
        self._stack = scene.stack
        self._outcome = outcome
        self._say = say
        token = self._stack.token("soaked")
        ca, first = Path(self._stack.ca), outcome.seed % 1000 * 1_000_000
        self._senders = [
            Sender([self._stack.url], ca, token, first + 10_000_000_000 * number, pause, body)
            for number, (pause, body) in enumerate([(0.15, photograph), (0.1, digit)])
        ]

    def run(self) -> Outcome:
        """All of it."""
        outcome, stack = self._outcome, self._stack
        with stack.person("sales") as (name, _):
            stack.run("access", "apply", "--yes")
            dsn = person_dsn(stack.home, name)
            writers = [ShopWriter(dsn, f"{MARK}{number}", outcome.seed + number) for number in range(2)]
            jobs, rights, stalls = JobStarter(stack, outcome.seed), RightsWatch(stack), Stalls(self._acknowledged)
            workers = [*writers, jobs, rights, stalls]
            for one in (*self._senders, *workers):
                one.start()
            try:
                self._strike_all()
            finally:
                histories = [one.stop() for one in self._senders]
                for worker in workers:
                    worker.stop()
        outcome.acknowledged = sum(len(one.acknowledged) for one in histories)
        outcome.refused = dict(sum((one.refused for one in histories), Counter()))
        outcome.longest_stall, outcome.jobs = round(stalls.longest, 1), jobs.started
        outcome.changes = sum(len(one.changes.committed) for one in writers)
        outcome.compared = rights.compared
        outcome.broken += [f"{times} times: {said}" for said, times in rights.differences.items()]
        self._settle()
        settings = stack.settings("operator")
        state = watermarks(settings, settings.topic)
        outcome.records = sum(high for _, high in state.partitions.values())
        told = [image for one in histories for image in one.acknowledged]
        outcome.broken += violations(settings.lake_root, told, state.topic_id)
        outcome.broken += unjudged(settings.lake_root)
        outcome.broken += wrong_items(settings.lake_root, MARK, [one.changes for one in writers])
        return outcome

    def _acknowledged(self) -> int:
        return sum(len(one.history.acknowledged) for one in self._senders)

    def _strike_all(self) -> None:
        outcome, started = self._outcome, time.monotonic()
        for strike in outcome.strikes:
            # A fault that took longer than its time pushes the others back; their order and length stay.
            time.sleep(max(0.0, started + strike.at - time.monotonic()))
            self._say(f"{time.monotonic() - started:6.0f} s  {strike.name}")
            with FAULTS[strike.card.kind](self._scene, strike.card.victim):
                time.sleep(strike.seconds)
            outcome.recovery.setdefault(strike.card.kind, []).append(self._recovered())
        time.sleep(max(0.0, started + outcome.minutes * 60 - time.monotonic()))
        self._healthy()

    def _recovered(self) -> float:
        """Seconds until one more image is acknowledged."""
        began, before = time.monotonic(), self._acknowledged()
        while self._acknowledged() == before:
            if time.monotonic() - began > HEALTHY_SECONDS:
                self._outcome.broken.append(f"nothing was acknowledged for {HEALTHY_SECONDS:.0f} s after a fault")
                break
            time.sleep(0.1)
        return round(time.monotonic() - began, 1)

    def _healthy(self) -> None:
        try:
            self._stack.wait_healthy(timeout=HEALTHY_SECONDS)
        except AssertionError as error:
            self._outcome.broken.append(str(error).splitlines()[0])

    def _settle(self) -> None:
        """Until everything is developed, and the shop's changes are events."""
        self._say("at rest: waiting until all is developed")
        wait_until_settled(self._stack.settings("operator"), self._stack.dagster(), SETTLE_SECONDS)
        ending = time.monotonic() + SETTLE_SECONDS
        with closing(self._stack.dagster()) as dagster:
            run = dagster.launch("refresh_shop", {})
            while not dagster.run(run).finished:
                if time.monotonic() > ending:
                    raise DagsterAway(f"refresh_shop did not end within {SETTLE_SECONDS:.0f} s")
                time.sleep(1)


def fresh_seed() -> int:
    """Any."""
    return secrets.randbelow(1_000_000)
