"""What a process remembers of the key store, and for how long; for any number of threads.

What is remembered is as old as the oldest read that it rests on, and what was read before something was forgotten is
not taken in afterwards: it may be the key that was destroyed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cachetools import TLRUCache

_CACHED = 8192


class KeyCache:
    """Values by path of their record, each with when it was read.

    Args:
        seconds: how long what was read is believed.
        timer: seconds that its age is measured in.
    """

    def __init__(self, seconds: float, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._forgotten = float("-inf")
        # By path of the record: (secret, day's key, data key, tombstone or a pointer's key name, read at).
        self._cache: TLRUCache[str, tuple[Any, float]] = TLRUCache(
            _CACHED, ttu=lambda _path, entry, _now: entry[1] + seconds, timer=timer
        )

    def get(self, path: str) -> tuple[Any, float] | None:
        """What is remembered, and when it was read; None where nothing is."""
        with self._lock:
            return self._cache.get(path)

    def remember(self, path: str, value: object, since: float) -> None:
        """Believe `value`, which was read at `since`."""
        with self._lock:
            if since >= self._forgotten:  # else it was read before a key was destroyed here, and may be that key
                self._cache[path] = (value, since)

    def forget(self, which: Callable[[str], bool]) -> None:
        """Forget what these paths hold, and take in nothing that was read until now."""
        with self._lock:
            self._forgotten = self._timer()
            for path in [path for path in self._cache if which(path)]:
                self._cache.pop(path, None)
