"""The expected failures of a stack: each message says what was tried, what came back, and what to do."""

from __future__ import annotations

from resources.failures import PermanentFailure


class StackError(PermanentFailure):
    """The stack cannot do what was asked until a person acts."""


class StackMissing(StackError):
    """There is no stack in that home."""


class ServiceFailed(StackError):
    """A service did not become healthy; the message ends with the last lines of its log."""
