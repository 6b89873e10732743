"""Sends images to the doors: several at a time, each until it is acknowledged, refused, or the doors stay away.

Mechanism: each image has its own answer and its own retry, whichever way it goes (cli/ways.py). The doors share nothing
but what is behind them, so any of them will do: one that fails rests for a while (its Retry-After, or a back-off that
doubles), and the others go on. Before the first try the image's `uploaded_at` is written down, and every try repeats
it: a resend within the day is the same image. Bytes are read when their turn comes, so memory is bounded by
`concurrency` images.

Limit: an answer can be lost after the broker kept the record; the resend then is a second record of the same image.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from cli.sent import Receipt, Sent
from cli.ways import Item, Way, WayLost
from resources.failures import PermanentFailure, TransientFailure

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 10.0
UNHEARD_SECONDS = 15.0
"""Patience before any door ever answered: then it is rather that nothing runs than that something restarts."""
TRIES_OF_A_FAILING_SERVICE = 4
"""How often an image is tried at doors that answer 500: more would hide a bug, fewer would not survive a restart."""


class Outcome(StrEnum):
    """What became of one image."""

    ACKNOWLEDGED = "acknowledged"
    BEFORE = "acknowledged before"
    SAME = "same content"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Result:
    """What became of one item. `status` is the door's HTTP status where it refused; `detail` its words, or ours."""

    item: Item
    outcome: Outcome
    status: int | None = None
    detail: str = ""
    receipt: Receipt | None = None
    tries: int = 0


class DoorsAway(TransientFailure):
    """No door took anything for longer than the sender's patience."""


class TokenRefusedByDoor(PermanentFailure):
    """The door does not take this sender's tokens, not even a new one."""


@dataclass
class Door:
    """One instance: where it is, until when it rests, and how often it failed in a row; times by its clock."""

    url: str
    rests_until: float = 0.0
    failures: int = 0

    def rest(self, now: float, asked: float | None, jitter: float) -> None:
        """Leave the door alone: as long as it asked, or twice as long as the last time.

        Several images that fail together are one failure.
        """
        if asked is None and self.rests_until > now:
            return
        self.failures += 1
        wait = FIRST_WAIT_SECONDS * 2 ** min(self.failures - 1, 8)
        self.rests_until = now + min(LONGEST_WAIT_SECONDS, asked if asked is not None else wait * jitter)


@dataclass
class Sending:
    """How to send.

    Args:
        uploader: the subject of the tokens; with the content's SHA-256 it is what the notebook knows an image by.
        token: a bearer token that is valid for a while; called with True when the door refused the last one.
        concurrency: images under way at a time.
        rate: most images a second that are begun; None for no limit.
        patience_seconds: give up when no door acknowledged or refused anything for this long.
        largest: files of more bytes are not even read; the doors would refuse them while reading.
        now: the clock, in UTC; `clock` is in seconds and never goes back, for waiting.
        jitter: a factor around 1, so that several senders do not come back at the same instant.
    """

    uploader: str
    token: Callable[[bool], str]
    concurrency: int = 8
    rate: float | None = None
    patience_seconds: float = 120.0
    largest: int | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = lambda: random.uniform(0.7, 1.3)
    _claimed: set[str] = field(default_factory=set)


class Sender:
    """Sends items to doors. Use it once, within one event loop.

    Args:
        doors: addresses of the instances, at least one.
        way: how an image gets to them.
        sent: the notebook.
        how: see `Sending`.
    """

    def __init__(self, doors: Sequence[str], way: Way, sent: Sent, how: Sending) -> None:
        if not doors:
            raise ValueError("A sender needs at least one door.")
        self._doors = [Door(url.rstrip("/")) for url in doors]
        self._way = way
        self._sent = sent
        self._how = how
        self._turn = 0
        self._next_start = 0.0
        self._last_good = 0.0
        self._last_trouble = "nothing was tried."
        self._heard = False

    async def send(self, items: Iterable[Item], report: Callable[[Result], None]) -> None:
        """Send every item; `report` hears of each one, in the order of their ends.

        Raises:
            DoorsAway: given up; what was reported is acknowledged and written down all the same.
            DoorUntrusted, TokenRefusedByDoor: no use in going on.
        """
        self._last_good = self._time()
        waiting = iter(items)
        workers = [asyncio.ensure_future(self._work(waiting, report)) for _ in range(self._how.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, items: Iterator[Item], report: Callable[[Result], None]) -> None:
        for item in items:
            report(await self._one(item))

    async def _one(self, item: Item) -> Result:
        largest = self._how.largest
        if largest is not None and item.size > largest:
            detail = f"{item.size} bytes; a door takes at most {largest}. It was not read."
            return Result(item, Outcome.REFUSED, 413, detail)
        try:
            image = await asyncio.to_thread(item.read)
        except OSError as error:
            return Result(item, Outcome.UNREADABLE, detail=error.strerror or str(error))
        digest = sha256(image).hexdigest()
        known = self._sent.receipt(self._how.uploader, digest)
        if digest in self._how._claimed:
            return Result(item, Outcome.SAME, receipt=known, detail="another file of this run has the same bytes")
        self._how._claimed.add(digest)
        if known is not None:
            return Result(item, Outcome.BEFORE, receipt=known)
        await self._pace()
        return await self._until_answered(item, image, digest)

    async def _until_answered(self, item: Item, image: bytes, digest: str) -> Result:
        uploader, how = self._how.uploader, self._how
        tries, failing, renewed = 0, 0, False
        while True:
            door = await self._free_door()
            uploaded_at = self._sent.begin(uploader, digest, how.now())
            tries += 1
            try:
                answer = await self._way.put(door.url, item, image, digest, uploaded_at, how.token(False))
            except WayLost as error:
                self._trouble(door, str(error))
                continue
            self._heard = True
            if answer.receipt is not None:
                self._sent.acknowledge(uploader, digest, answer.receipt, how.now())
                self._good(door)
                return Result(item, Outcome.ACKNOWLEDGED, receipt=answer.receipt, tries=tries)
            if answer.status == 401 and not renewed:
                how.token(True)
                renewed = True
                continue
            if answer.status == 401:
                raise TokenRefusedByDoor(
                    f"{door.url} refuses this sender's token, a new one too: {answer.detail} "
                    "Was the stack made anew since? `darkroom token` makes a token by hand."
                )
            failing += answer.status in (500, 502, 504)
            passing = answer.status in (408, 429, 503)
            if passing or (answer.status >= 500 and failing < TRIES_OF_A_FAILING_SERVICE):
                self._trouble(door, f"{answer.status} {answer.detail}", answer.retry_after)
                continue
            self._good(door)
            return Result(item, Outcome.REFUSED, answer.status, answer.detail, tries=tries)

    async def _free_door(self) -> Door:
        """The next door in turn that does not rest; waits for one, as long as patience lasts."""
        while True:
            now = self._time()
            for step in range(len(self._doors)):
                door = self._doors[(self._turn + step) % len(self._doors)]
                if door.rests_until <= now:
                    self._turn += step + 1
                    return door
            if now - self._last_good > self._patience:
                raise self._given_up()
            await self._how.sleep(max(0.01, min(door.rests_until for door in self._doors) - now))

    @property
    def _patience(self) -> float:
        patience = self._how.patience_seconds
        return patience if self._heard else min(UNHEARD_SECONDS, patience)

    def _given_up(self) -> DoorsAway:
        doors = ", ".join(door.url for door in self._doors)
        if not self._heard:
            return DoorsAway(
                f"No door answers at {doors}; {self._last_trouble} Is the stack running? "
                "`darkroom status` says, and `darkroom up` starts it."
            )
        return DoorsAway(
            f"No door took anything for {self._patience:g} s ({doors}); "
            f"the last trouble: {self._last_trouble} `darkroom status` shows what runs. "
            "Run the same command again to go on: what was acknowledged is skipped."
        )

    async def _pace(self) -> None:
        if self._how.rate is None:
            return
        now = self._time()
        start = max(now, self._next_start)
        self._next_start = start + 1 / self._how.rate
        if start > now:
            await self._how.sleep(start - now)

    def _good(self, door: Door) -> None:
        door.failures = 0
        self._last_good = self._time()

    def _trouble(self, door: Door, what: str, asked: float | None = None) -> None:
        self._last_trouble = f"{door.url}: {what.strip().rstrip('.')}."
        door.rest(self._time(), asked, self._how.jitter())

    def _time(self) -> float:
        return self._how.clock()
