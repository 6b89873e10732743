"""What was read and is not answered yet: bounded, and in order, so that no offset is committed before its answer.

Records of a partition are worked on at once and end in any order; what may be committed is the end of the longest run
of ended ones from the start. A partition that went to another instance is a closed `Line`: what still hangs on it ends
without being counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from resources.records import Record


class Line:
    """The records of one partition under way, from when it was assigned until it was taken away."""

    def __init__(self) -> None:
        self.closed = False
        self.last = -1
        self.next: int | None = None
        """The offset to commit; None while nothing has ended."""
        self.under_way: deque[int] = deque()
        self._ended: set[int] = set()
        self._lost: int | None = None

    def take(self, offset: int) -> None:
        """Begin one, offsets rising."""
        self.last = offset
        self.under_way.append(offset)

    def end(self, offset: int, *, answered: bool) -> None:
        """End one of them; nothing is committed beyond one that was not answered."""
        if not answered and (self._lost is None or offset < self._lost):
            self._lost = offset
        self._ended.add(offset)
        while self.under_way and self.under_way[0] in self._ended:
            first = self.under_way.popleft()
            self._ended.discard(first)
            if self._lost is None or first < self._lost:
                self.next = first + 1


class UnderWay:
    """All of them. Thread-safe.

    Args:
        most_images: records at once.
        most_bytes: their bytes at once; one record may go beyond it.
    """

    def __init__(self, most_images: int, most_bytes: int) -> None:
        self._most_images = most_images
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._lines: dict[int, Line] = {}
        self.images = 0
        self.bytes = 0

    def begin(self, partitions: Iterable[int]) -> None:
        """Partitions that were assigned."""
        with self._changed:
            for partition in partitions:
                self._lines[partition] = Line()

    def close(self, partitions: Iterable[int]) -> None:
        """Partitions that are being taken away: what waits for its turn is not begun any more."""
        with self._changed:
            for partition in partitions:
                if (line := self._lines.get(partition)) is not None:
                    line.closed = True

    def drain(self, partitions: Iterable[int], seconds: float) -> dict[int, int]:
        """Wait for what is being worked on in closed partitions, then forget them; returns what may be committed."""
        with self._changed:
            lines = {partition: self._lines[partition] for partition in partitions if partition in self._lines}
            self._changed.wait_for(lambda: not any(line.under_way for line in lines.values()), seconds)
            for partition in lines:
                del self._lines[partition]
            return {partition: line.next for partition, line in lines.items() if line.next is not None}

    def forget(self) -> None:
        """Close and forget every partition."""
        with self._changed:
            for line in self._lines.values():
                line.closed = True
            self._lines.clear()

    def line(self, partition: int) -> Line | None:
        """The line of an assigned partition."""
        with self._changed:
            return self._lines.get(partition)

    def take(self, record: Record, line: Line) -> None:
        """Begin a record."""
        with self._changed:
            line.take(record.offset)
            self.images += 1
            self.bytes += record.bytes

    def pass_over(self, line: Line, offset: int) -> None:
        """Begin and end what no record could be made of."""
        with self._changed:
            line.take(offset)
            line.end(offset, answered=True)

    def end(self, record: Record, line: Line, *, answered: bool) -> None:
        """End a record; one that was not answered holds its line, which commits nothing beyond it."""
        with self._changed:
            self.images -= 1
            self.bytes -= record.bytes
            line.end(record.offset, answered=answered)
            self._changed.notify_all()

    def wait_room(self, seconds: float, share: float = 1.0) -> bool:
        """Wait until less than this share of the bounds is taken."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self.images < self._most_images * share and self.bytes < self._most_bytes * share, seconds
            )

    def committable(self) -> Mapping[int, int]:
        """By partition the offset that may be committed."""
        with self._changed:
            return {partition: line.next for partition, line in self._lines.items() if line.next is not None}
