"""How often somebody may be wrong: by name and address together, by address, and by name, in a sliding window.

The tightest limit is on the pair, so that whoever tries passwords of somebody else does not lock them out from where
they are; the one on a name alone stands far above, for guesses from many places. Only failures count. Limits: counts
are an instance's own and in memory, so that with two instances twice as many guesses fit; and the oldest names are
forgotten where there are more than fit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from cachetools import LRUCache

WINDOW_SECONDS = 300.0
PER_PAIR, PER_ADDRESS, PER_NAME = 5, 50, 100
MOST_KEYS = 50_000


class Attempts:
    """Counts failures. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: LRUCache[tuple[str, ...], deque[float]] = LRUCache(MOST_KEYS)

    def wait(self, name: str, address: str) -> int:
        """Seconds until this name may be tried from this address; 0 for now."""
        now = self._clock()
        with self._lock:
            waits = [self._wait(key, most, now) for key, most in _keys(name, address)]
        return max(waits)

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
        times = self._failures.get(key)
        if times is None or len(times) < most:
            return 0
        return max(0, int(times[0] + WINDOW_SECONDS - now + 0.999))


def _keys(name: str, address: str) -> tuple[tuple[tuple[str, ...], int], ...]:
    folded = name.casefold()[:256]
    return (
        (("pair", folded, address), PER_PAIR),
        (("address", address), PER_ADDRESS),
        (("name", folded), PER_NAME),
    )
