"""The demo's live part: digits that no model has seen travel through the door, and their labels arrive while one looks.

The digits are those that are sent without a label, so that none of them was learned from; what they show is known here
alone. Latency is counted from the door's acknowledgement, as its sender sees it, to the answer's arrival.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from cli.dataset import MemoryItem
    from cli.listening import NamedImage
    from cli.sender import Result
    from cli.sending import Summary

RATE = 50.0
"""Images a second: what the sub-second lane is measured at."""
READY_SECONDS = 30.0
"""How long the lane may take to have the champion that was promoted just now."""
PATIENCE_SECONDS = 20.0
"""How long the last answers are waited for after the last image was sent."""
SHOWN = 8
"""How many answers are shown one by one, where there is a terminal."""


@dataclass
class Live:
    """What came of it. `named`: id to answer; `sent`: id to the item and the time of its acknowledgement."""

    model: str
    sent: dict[str, tuple[MemoryItem, float]] = field(default_factory=dict)
    named: dict[str, NamedImage] = field(default_factory=dict)

    @property
    def latencies(self) -> list[float]:
        """Seconds from acknowledgement to answer, rising; an answer may be here before the acknowledgement (0)."""
        found = [(self.named[id].at, at) for id, (_, at) in self.sent.items() if id in self.named]
        return sorted(max(0.0, named - sent) for named, sent in found)

    @property
    def right(self) -> int:
        """How many were named what they show."""
        return sum(item.truth == self.named[id].label for id, (item, _) in self.sent.items() if id in self.named)

    @property
    def sentence(self) -> str:
        """For a person."""
        if not self.sent:
            return "Live: nothing new to send; the digits without a label were sent before."
        named = len(self.latencies)
        if not named:
            return (
                f"Live: none of {len(self.sent)} digits was named within {PATIENCE_SECONDS:g} s; they will be by the "
                "batch lane. `darkroom logs recogniser` says what the sub-second lane does."
            )
        return (
            f"Live: {named} of {len(self.sent)} digits that no model has seen were named as they came, at {RATE:g} a "
            f"second; {self.right / named:.1%} right; {quantile(self.latencies, 0.5) * 1000:.0f} ms (median) and "
            f"{quantile(self.latencies, 0.99) * 1000:.0f} ms (99th percentile) after the broker had them."
        )


def quantile(rising: Sequence[float], share: float) -> float:
    """The value at a share of rising values, by nearest rank."""
    return rising[max(0, math.ceil(share * len(rising)) - 1)]


def wait_for_champion(home: Path, model: str, version: str, seconds: float = READY_SECONDS) -> bool:
    """Wait until the sub-second lane names with that version; False where it does not in time, or does not answer."""
    import httpx

    from stack.doors import trust
    from stack.status import describe

    url = describe(home)["services"].get("recogniser", {}).get("url")
    deadline = time.monotonic() + seconds
    while url and time.monotonic() < deadline:
        try:
            told = httpx.get(f"{url}/readyz", verify=trust(home), timeout=5, trust_env=False).json()
        except (httpx.HTTPError, ValueError):
            told = {}
        if told.get("ready") and told.get("versions", {}).get(model) == version:
            return True
        time.sleep(0.3)
    return False


def send_live(
    home: Path, items: Sequence[MemoryItem], uploader: str, model: str, console: Console
) -> tuple[Summary, Live]:
    """Stream the items at `RATE`, and listen to what they are named.

    Args:
        items: with what they show as `truth`.
        model: whose answers count.

    Raises:
        ResultsRefused, DoorUntrusted: the door does not let listen.
        DoorsAway, TokenRefusedByDoor: as for every sending.
    """
    from cli.listening import Listening, results_url
    from cli.sender import Outcome
    from cli.sending import GROUPS, Tokens, send_items
    from stack.doors import door_of, trust
    from stack.signing import development_token

    live, came = Live(model), threading.Event()
    stream = door_of(home, "stream")
    tokens = Tokens(lambda ttl: development_token(home, uploader, GROUPS, ttl))

    def take(found: NamedImage) -> None:
        if found.model == model and found.id not in live.named:
            live.named[found.id] = found
            if console.is_terminal and len(live.named) <= SHOWN:
                console.print(f"  {found.id}  is a {found.label}  ({found.probability:.0%})", markup=False)
            came.set()

    def acknowledged(result: Result) -> None:
        if result.outcome is Outcome.ACKNOWLEDGED and result.receipt is not None:
            live.sent[result.receipt.id] = (result.item, time.monotonic())  # type: ignore[assignment]

    with Listening(results_url(stream), trust(home), tokens, take) as listening:
        summary = send_items(
            home,
            items,
            uploader=uploader,
            via="stream",
            rate=RATE,
            console=console,
            title="live       ",
            keep_results=True,
            told=acknowledged,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while live.sent.keys() - live.named.keys() and time.monotonic() < deadline:
            came.clear()
            came.wait(0.1)
            listening.check()
    return summary, live
