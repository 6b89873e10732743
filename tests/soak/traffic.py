"""Who works while faults strike: senders of images, writers of the shop, whoever starts jobs, and who watches rights.

Each is a thread that goes on until it is stopped and takes every failure as a fault's; what was told to it, it keeps.
"""

from __future__ import annotations

import io
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import psycopg
from PIL import Image

from access.policy import load_policy
from cli.dagster_api import DagsterAway, DagsterRefused
from resources.enforcement import everybody_of, points
from resources.failures import PlatformFailure
from tests.live_stack import LiveStack

JOBS = ("upkeep_tables", "purge_days", "train_dominant_colour", "refresh_shop")
"""What is started again and again beside the lane: compaction and vacuum, the purge, models, the shop."""


def photograph(seed: int) -> bytes:
    """About 100 kB, which no other seed makes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (184, 184, 3), dtype=np.uint8)
    return _png(pixels)


def digit(seed: int) -> bytes:
    """A small picture without colour, as scans of digits are."""
    return _png(np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8))


def _png(pixels: np.ndarray) -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


class Worker(threading.Thread):
    """Does one thing again and again until it is stopped."""

    def __init__(self, name: str, pause: float) -> None:
        super().__init__(daemon=True, name=name)
        self._pause = pause
        self._ending = threading.Event()

    def once(self) -> None:
        """The thing."""
        raise NotImplementedError

    def run(self) -> None:
        """Until `stop`."""
        while not self._ending.wait(self._pause):
            self.once()

    def stop(self, seconds: float = 120) -> None:
        """End after what is being done."""
        self._ending.set()
        self.join(seconds)
        assert not self.is_alive(), f"{self.name} did not end within {seconds:.0f} s"


@dataclass(frozen=True)
class Change:
    """A change of an item; its cost is of no other change of the same item. A delete has none."""

    item: str
    op: str
    cost: Decimal | None


@dataclass
class Changes:
    """What writers were told: committed for sure, and perhaps (the answer to COMMIT was lost)."""

    committed: list[Change] = field(default_factory=list)
    perhaps: list[Change] = field(default_factory=list)
    refused: int = 0


class ShopWriter(Worker):
    """Puts items in, changes them and takes them out, one change a transaction, as a person of the group sales.

    Args:
        dsn: libpq connection string of that person.
        mark: begins the ids of its items.
        seed: of what it does.
    """

    def __init__(self, dsn: str, mark: str, seed: int, pause: float = 0.2) -> None:
        super().__init__(f"shop-{mark}", pause)
        self.changes = Changes()
        self._dsn = dsn
        self._mark = mark
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._costs = itertools.count(1)
        self._living: list[str] = []
        self._connection: psycopg.Connection | None = None

    def once(self) -> None:
        """One change."""
        change = self._next()
        sent = False
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._dsn, connect_timeout=5)
            self._write(self._connection, change)
            sent = True
            self._connection.commit()
        except psycopg.Error:
            self.changes.refused += 1
            if sent:
                # Nobody knows whether it is committed: the item is left alone from now on.
                self.changes.perhaps.append(change)
                self._living = [one for one in self._living if one != change.item]
            self._give_up()
            return
        self.changes.committed.append(change)
        if change.op == "delete":
            self._living.remove(change.item)
        elif change.item not in self._living:
            self._living.append(change.item)

    def _next(self) -> Change:
        kind = self._chance.random()
        if not self._living or kind < 0.3:
            return Change(f"{self._mark}-{next(self._numbers)}", "upsert", Decimal(next(self._costs)))
        item = self._chance.choice(self._living)
        return Change(item, "delete", None) if kind < 0.4 else Change(item, "upsert", Decimal(next(self._costs)))

    def _write(self, connection: psycopg.Connection, change: Change) -> None:
        if change.op == "delete":
            connection.execute("DELETE FROM shop.items WHERE item_id = %s", [change.item])
        elif change.item in self._living:
            connection.execute("UPDATE shop.items SET cost = %s WHERE item_id = %s", [change.cost, change.item])
        else:
            connection.execute(
                "INSERT INTO shop.items (item_id, name, manufacturer, cost, weight_kg) "
                "VALUES (%s, 'soaked', 'x', %s, 1)",
                [change.item, change.cost],
            )

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class JobStarter(Worker):
    """Starts one job after the other, whether the last one has ended or not."""

    def __init__(self, stack: LiveStack, seed: int, pause: float = 25.0) -> None:
        super().__init__("jobs", pause)
        self.started: dict[str, int] = {}
        self._stack = stack
        self._jobs = itertools.cycle(random.Random(seed).sample(JOBS, len(JOBS)))

    def once(self) -> None:
        """One job."""
        job = next(self._jobs)
        dagster = self._stack.dagster()
        try:
            dagster.launch(job, {})
        except (DagsterAway, DagsterRefused, OSError):
            return
        finally:
            dagster.close()
        self.started[job] = self.started.get(job, 0) + 1


class RightsWatch(Worker):
    """Compares what stands at each point of enforcement with the policy; nothing may ever differ."""

    def __init__(self, stack: LiveStack, pause: float = 10.0) -> None:
        super().__init__("rights", pause)
        self.differences: dict[str, int] = {}
        """Sentences, and how often each was seen."""
        self.compared = 0
        self.away = 0
        self._stack = stack

    def once(self) -> None:
        """Every point once; one that is away says nothing."""
        settings = self._stack.settings("dagster")
        dsn, every = settings.postgres_dsn, everybody_of(settings)
        for point in points(settings, load_policy(), settings.shop_dsn or dsn, every):
            try:
                found = list(point.differences())
            except PlatformFailure:
                self.away += 1
                continue
            self.compared += 1
            for one in found:
                self.differences[one] = self.differences.get(one, 0) + 1


class Stalls(Worker):
    """Looks how much was acknowledged, and keeps the longest time in which it was not more."""

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__("stalls", 0.2)
        self.longest = 0.0
        """Seconds."""
        self._count = count
        self._last, self._since = -1, time.monotonic()

    def once(self) -> None:
        """One look."""
        now, count = time.monotonic(), self._count()
        if count != self._last:
            self._last, self._since = count, now
        self.longest = max(self.longest, now - self._since)
