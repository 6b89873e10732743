"""Sending from a command: finds the doors and a token, shows a progress bar, sums up. `cli.sender` does the work."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli.by_stream import ByStream
from cli.sender import Outcome, Result, Sender, Sending
from cli.sent import Sent
from cli.ways import ByUpload, Item, Way

GROUPS = ("image-uploaders",)
CONCURRENCY = {"stream": 32, "upload": 8}
"""Images under way at a time: by stream waiting is free, and memory is what bounds it."""
TOKEN_SECONDS = 900
RENEW_BEFORE_SECONDS = 120
SHOWN = 25
"""How many refused files the summary names; the rest is counted."""


@dataclass
class Summary:
    """What became of the items so far."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    refusals: Counter[int] = field(default_factory=Counter)
    acknowledged_bytes: int = 0
    resends: int = 0
    seconds: float = 0.0
    unsent: list[Result] = field(default_factory=list)
    results: list[Result] | None = None

    def add(self, result: Result) -> None:
        """Count one result."""
        self.counts[result.outcome] += 1
        self.resends += max(0, result.tries - 1)
        if self.results is not None:
            self.results.append(result)
        if result.outcome is Outcome.ACKNOWLEDGED:
            self.acknowledged_bytes += max(0, result.item.size)
        if result.outcome in (Outcome.REFUSED, Outcome.UNREADABLE):
            self.refusals[result.status or 0] += 1
            if len(self.unsent) < SHOWN:
                self.unsent.append(result)

    @property
    def new(self) -> int:
        """Images acknowledged now."""
        return self.counts[Outcome.ACKNOWLEDGED]

    @property
    def failed(self) -> int:
        """Items that a door refused or that could not be read."""
        return self.counts[Outcome.REFUSED] + self.counts[Outcome.UNREADABLE]

    def sentence(self) -> str:
        """One line: "12 new, 3 acknowledged before, 1 same content, 2 refused"."""
        parts = [f"{self.new} new", f"{self.counts[Outcome.BEFORE]} acknowledged before"]
        for outcome in (Outcome.SAME, Outcome.REFUSED, Outcome.UNREADABLE):
            if self.counts[outcome]:
                parts.append(f"{self.counts[outcome]} {outcome}")
        return ", ".join(parts)


class Tokens:
    """Bearer tokens that are renewed before they expire.

    Args:
        make: makes a token that is valid for the given seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, make: Callable[[int], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._token = ""
        self._until = float("-inf")

    def __call__(self, refused: bool) -> str:
        """A token that is valid for two minutes at least; a new one when the last was refused."""
        if refused or self._clock() > self._until - RENEW_BEFORE_SECONDS:
            self._token = self._make(TOKEN_SECONDS)
            self._until = self._clock() + TOKEN_SECONDS
        return self._token


def send_items(
    home: Path,
    items: Sequence[Item],
    *,
    uploader: str,
    largest: int | None = None,
    via: str = "upload",
    concurrency: int | None = None,
    rate: float | None = None,
    patience_seconds: float = 120.0,
    console: Console,
    title: str = "sending",
    keep_results: bool = False,
    told: Callable[[Result], None] = lambda result: None,
) -> Summary:
    """Send items to the stack's doors, with a progress bar.

    Args:
        home: the stack's folder; its notebook is home/state/sent.sqlite.
        items: what to send.
        uploader: subject of the tokens.
        via: "stream" or "upload".
        concurrency: images under way at a time; None for what suits the way.
        largest, rate, patience_seconds: see `cli.sender.Sending`.
        console: where the bar is drawn.
        title: what stands before the bar.
        keep_results: keep every result in the summary, not only counts.
        told: called with each result as soon as it is known.

    Raises:
        StackError: nothing to send to.
        DoorsAway, DoorUntrusted, TokenRefusedByDoor: given up; what was acknowledged before is written down.
        KeyboardInterrupt: stopped by the person; the same holds.
    """
    from stack.doors import door_of, trust
    from stack.signing import development_token

    door = door_of(home, via)
    under_way = concurrency or CONCURRENCY[via]
    context = trust(home)
    tokens = Tokens(lambda ttl: development_token(home, uploader, GROUPS, ttl))
    how = Sending(
        uploader,
        tokens,
        concurrency=under_way,
        rate=rate,
        patience_seconds=patience_seconds,
        largest=largest,
    )
    summary = Summary(results=[] if keep_results else None)
    started = time.monotonic()
    with Sent(home / "state" / "sent.sqlite") as sent, _bar(console) as bar:
        task = bar.add_task(title, total=len(items), said="")

        def report(result: Result) -> None:
            summary.add(result)
            told(result)
            bar.update(task, advance=1, said=summary.sentence())

        async def run() -> None:
            async with _way(via, context, under_way) as way:
                await Sender([door], way, sent, how).send(items, report)

        try:
            asyncio.run(run())
        except BaseException:
            console.print(f"Stopped. Until then: {summary.sentence()}.", soft_wrap=True)
            raise
        finally:
            summary.seconds = time.monotonic() - started
    return summary


@asynccontextmanager
async def _way(via: str, trusted: ssl.SSLContext, concurrency: int) -> AsyncIterator[Way]:
    if via == "stream":
        stream = ByStream(trusted)
        try:
            yield stream
        finally:
            await stream.close()
        return
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    timeout = httpx.Timeout(60.0, connect=10.0)
    async with httpx.AsyncClient(verify=trusted, limits=limits, timeout=timeout, trust_env=False) as client:
        yield ByUpload(client)


def print_unsent(summary: Summary, console: Console) -> None:
    """A table of the files that were refused or could not be read, with the door's words."""
    if not summary.unsent:
        return
    table = Table(title="Not taken", title_justify="left", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("status", justify="right")
    table.add_column("why", overflow="fold")
    for result in summary.unsent:
        table.add_row(escape(result.item.name), str(result.status or "unread"), escape(result.detail))
    console.print(table)
    rest = summary.failed - len(summary.unsent)
    if rest:
        by_status = ", ".join(
            f"{count} with {status or 'unread'}" for status, count in sorted(summary.refusals.items())
        )
        console.print(f"... and {rest} more. In all: {by_status}.")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        # Without a terminal a bar is noise: the summary says it once.
        disable=not console.is_terminal,
    )
