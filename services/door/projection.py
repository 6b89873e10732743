"""`accepted`, written behind the answer: Kafka has the image, and a projection may never delay or fail that.

One thread writes batches. What cannot be written is dropped and counted: developing fills it in. Until a row is
written, this instance answers from memory, so that an uploader who asks at once is not told 404.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from resources.postgres import StatusRow

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
BATCH_ROWS = 500
GATHER_SECONDS = 0.02
PAUSE_SECONDS = 1.0


class StatusStore(Protocol):
    """The edge to the projection (resources.postgres.ImageStatus)."""

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        """Write states; raises StatusUnavailable."""
        ...

    def get(self, id: str) -> StatusRow | None:
        """Read one; raises StatusUnavailable."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class StatusWriter:
    """Writes rows in the background. Thread-safe.

    Args:
        store: where to.
        dropped: told how many rows were given up.
    """

    def __init__(self, store: StatusStore, dropped: Callable[[int], None]) -> None:
        self._store = store
        self._dropped = dropped
        self._waiting: dict[str, StatusRow] = {}
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._write, name="status-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, row: StatusRow) -> None:
        """Write it soon; never blocks, never raises."""
        with self._changed:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                self._waiting.setdefault(row.id, row)
                self._changed.notify()
        if full:
            self._dropped(1)

    def waiting(self, id: str) -> StatusRow | None:
        """A row that is not written yet."""
        with self._changed:
            return self._waiting.get(id)

    def close(self, timeout: float) -> None:
        """Write what waits, at most `timeout` seconds, and stop."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stop)
                if not self._stop:
                    # A moment more gathers a burst into one statement.
                    self._changed.wait_for(lambda: self._stop, GATHER_SECONDS)
                batch = list(self._waiting.values())[:BATCH_ROWS]
                stopping = self._stop
            if not batch:
                return
            try:
                self._store.put_many(batch)
            except Exception as error:
                # Not only StatusUnavailable: whatever it is, this thread is the only one, and the next batch may pass.
                log.warning("%d states are left to developing: %s: %s", len(batch), type(error).__name__, error)
                self._dropped(len(batch))
                if not stopping:
                    with self._changed:
                        self._changed.wait_for(lambda: self._stop, PAUSE_SECONDS)
            with self._changed:
                for row in batch:
                    self._waiting.pop(row.id, None)
