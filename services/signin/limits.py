"""How often somebody may be wrong: by name and address together, by address, and by name, in a sliding window.

The tightest limit is on the pair, so that whoever tries passwords of somebody else does not lock them out from where
they are; the one on a name alone stands far above, for guesses from many places. Failures count, and so does what is
under way: else a burst of guesses would be let pass before the first of them is known to be wrong. Limits: counts are
an instance's own and in memory, so that with two instances twice as many guesses fit; and the oldest names are
forgotten where there are more than fit.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from time import monotonic

from cachetools import LRUCache

WINDOW_SECONDS = 300.0
UNDER_WAY_SECONDS = 1
"""How long to wait where it is not known yet whether too many were wrong."""
PER_PAIR, PER_ADDRESS, PER_NAME = 5, 50, 100
MOST_KEYS = 50_000


class Attempts:
    """Counts failures. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: LRUCache[tuple[str, ...], deque[float]] = LRUCache(MOST_KEYS)
        self._under_way: Counter[tuple[str, ...]] = Counter()

    def begin(self, name: str, address: str) -> int:
        """Seconds until this name may be tried from this address; 0 for now, and then it is under way until `end`."""
        now, keys = self._clock(), _keys(name, address)
        with self._lock:
            wait = max(self._wait(key, most, now) for key, most in keys)
            if not wait:
                self._under_way.update(key for key, _ in keys)
        return wait

    def end(self, name: str, address: str) -> None:
        """What `begin` let pass is over; if it failed, that was counted before."""
        with self._lock:
            for key, _ in _keys(name, address):
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        with self._lock:
            for key, most in _keys(name, address):
                times = self._failures.get(key)
                if times is None:
                    times = self._failures[key] = deque(maxlen=most)
                times.append(now)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name from this address."""
        with self._lock:
            self._failures.pop(("pair", name.casefold(), address), None)

    def _wait(self, key: tuple[str, ...], most: int, now: float) -> int:
        waits = [int(time + WINDOW_SECONDS - now + 0.999) for time in self._failures.get(key, ())]
        counted = [wait for wait in waits if wait > 0]
        if len(counted) + self._under_way[key] < most:
            return 0
        return counted[0] if len(counted) == most else UNDER_WAY_SECONDS


def _keys(name: str, address: str) -> tuple[tuple[tuple[str, ...], int], ...]:
    folded = name.casefold()[:256]
    return (
        (("pair", folded, address), PER_PAIR),
        (("address", address), PER_ADDRESS),
        (("name", folded), PER_NAME),
    )
