"""supervisord, which outlives a full disk: `python -m stack.supervisor`, with its own options.

Where a line of a service cannot be written down, supervisord says so on its standard error. On a full disk that fails
too, the error goes through everything, and supervisord ends, with all services. Here what cannot be said is not said.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO, cast

from supervisor.supervisord import main as supervisord


class Forgiving:
    """A stream whose writes may fail without a word; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write` does."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def main() -> None:
    """Become supervisord."""
    sys.stdout, sys.stderr = (cast("TextIO", Forgiving(stream)) for stream in (sys.stdout, sys.stderr))
    supervisord()


if __name__ == "__main__":
    main()
