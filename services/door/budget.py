"""How many bytes of images a door holds at once: a budget, so that many senders cannot take all memory.

Bytes are counted as they arrive, not as they are announced: a slow sender holds only what it sent. A full budget
refuses at once, with 503, and never waits: two half-read images that wait for each other's room would wait for ever.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from services.door.problems import Kind, Problem


class Budget:
    """Bytes that may be held at once. Of one event loop; not thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def lease(self) -> Lease:
        """A lease of nothing, to be grown as bytes arrive."""
        return Lease(self)


class Lease:
    """A share of a budget; give it back with `release`, or use it as a context."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def grow(self, count: int) -> None:
        """Take `count` more bytes.

        Raises:
            Problem: BUSY, when the budget has no room for them.
        """
        if self._budget.held + count > self._budget.limit:
            raise Problem(
                Kind.BUSY, f"{self._budget.limit} bytes of images are under way here. Try again.", retry_after=2
            )
        self._budget.held += count
        self._bytes += count

    def hold(self, count: int) -> None:
        """Hold `count` bytes in all, more or fewer than before; raises as `grow` does, and then holds what it held."""
        if count > self._bytes:
            self.grow(count - self._bytes)
            return
        self._budget.held -= self._bytes - count
        self._bytes = count

    def release(self) -> None:
        """Give everything back; harmless twice."""
        self._budget.held -= self._bytes
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
