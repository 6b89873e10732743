"""Two kinds of failure, as types, so that whoever retries needs one question and no list of names.

A transient failure goes away by itself (a broker that restarts, another writer's commit): trying again helps. A
permanent one does not: until a person acts, every further try costs time and hides the first message. Orchestration
reads only `facts` and the type; nothing here knows Dagster. An exception of neither kind is unknown, and is treated
as transient with few tries: a bug shows itself again at once.
"""

from __future__ import annotations

from collections.abc import Mapping


class PlatformFailure(Exception):
    """A failure of the platform: a sentence for a person, and the same facts as values.

    Args:
        message: what was tried, on what, what came back, what to do.
        facts: the values in the message by name, shown beside it; no personal data.
    """

    def __init__(self, message: str, facts: Mapping[str, str | int | float] | None = None) -> None:
        super().__init__(message)
        self.facts: dict[str, str | int | float] = dict(facts or {})


class TransientFailure(PlatformFailure):
    """Goes away by itself: try again, later each time."""


class PermanentFailure(PlatformFailure):
    """Stays until a person acts: trying again is of no use."""


def is_permanent(error: BaseException) -> bool:
    """Whether trying again is of no use; looks through the causes, for a wrapped failure stays what it was."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PermanentFailure):
            return True
        if isinstance(seen, TransientFailure):
            return False
        seen = seen.__cause__
    return False


def first_line(error: BaseException | str) -> str:
    """The first line that says something, at most 300 characters: what a list of runs has room for."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    for line in text.splitlines():
        if line.strip():
            stripped = line.strip()
            return stripped if len(stripped) <= 300 else stripped[:299] + "…"
    return "no message"
