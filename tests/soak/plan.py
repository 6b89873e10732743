"""Which fault strikes when: drawn from a seed, so that a run can be had again. Pure.

Faults are drawn as from a deck of cards: each comes once before any comes twice, in another order each time.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FIRST_SECONDS = 10.0
"""Before the first strike, so that there is something to strike at."""
QUIET_SECONDS = 30.0
"""After the last one."""
PAUSE_SECONDS = (2.0, 10.0)
"""Between the end of one and the beginning of the next: often too short for all to have come back."""


@dataclass(frozen=True)
class Card:
    """One thing that may happen: a kind of fault and whom it strikes, and how long it lasts, in seconds."""

    kind: str
    victim: str
    seconds: tuple[float, float] = (0.0, 0.0)
    once: bool = False
    """Whether it happens at most once in a run."""


@dataclass(frozen=True)
class Strike:
    """A card that was drawn: when it begins, in seconds from the start, and how long it lasts."""

    at: float
    card: Card
    seconds: float

    @property
    def name(self) -> str:
        """For people."""
        lasting = f" for {self.seconds:.0f} s" if self.seconds else ""
        return f"{self.card.kind}: {self.card.victim}{lasting}"


def plan(seed: int, seconds: float, deck: Sequence[Card]) -> list[Strike]:
    """The strikes of a run of so many seconds, by time.

    Args:
        seed: the same one gives the same plan for the same deck.
        seconds: of the whole run; no strike ends in its last `QUIET_SECONDS`.
        deck: what may happen.

    Raises:
        ValueError: there is no card, or no time for any.
    """
    if not deck:
        raise ValueError("There is no fault to strike with.")
    chance = random.Random(seed)
    end, at = seconds - QUIET_SECONDS, FIRST_SECONDS
    strikes: list[Strike] = []
    left: list[Card] = []
    while True:
        if not left:
            left = [card for card in deck if not (card.once and any(one.card == card for one in strikes))]
            chance.shuffle(left)
            if not left:
                break
        card = left.pop()
        lasts = round(chance.uniform(*card.seconds), 1)
        if at + lasts > end:
            break
        strikes.append(Strike(round(at, 1), card, lasts))
        at += lasts + chance.uniform(*PAUSE_SECONDS)
    if not strikes:
        raise ValueError(
            f"{seconds:.0f} s are too short: the first strike comes after {FIRST_SECONDS:.0f} s and none in the last "
            f"{QUIET_SECONDS:.0f}."
        )
    return strikes


def by_kind(strikes: Sequence[Strike]) -> Mapping[str, int]:
    """How many strikes there are of each kind, by name."""
    counts: dict[str, int] = {}
    for one in strikes:
        counts[one.card.kind] = counts.get(one.card.kind, 0) + 1
    return dict(sorted(counts.items()))
