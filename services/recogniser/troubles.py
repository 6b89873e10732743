"""What the instance waits for at the moment: for /readyz, and one line of log where it begins and one where it ends."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Troubles:
    """Threads that wait, by what for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._sentences: dict[str, str] = {}

    @contextmanager
    def waiting(self, what: str, sentence: str) -> Iterator[None]:
        """Say so for as long as the block runs."""
        with self._lock:
            begins = not self._waiting[what]
            self._waiting[what] += 1
            self._sentences[what] = sentence
        if begins:
            log.warning("waiting", extra={"fields": {"for": what, "why": sentence}})
        try:
            yield
        finally:
            with self._lock:
                self._waiting[what] -= 1
                ends = not self._waiting[what]
            if ends:
                log.info("no longer waiting", extra={"fields": {"for": what}})

    def told(self, what: str) -> str:
        """`ok`, or why somebody waits."""
        with self._lock:
            return self._sentences[what] if self._waiting[what] else "ok"
