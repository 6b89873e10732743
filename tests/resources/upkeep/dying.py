"""A process that dies in the middle: at a chosen call of a method, as `kill` would end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def dying_at(owner: Any, name: str, calls: int) -> Iterator[None]:
    """While this lasts, the method dies at the call after so many; what runs inside has to die of it."""
    real, left = getattr(owner, name), calls

    def dying(*given: Any, **named: Any) -> Any:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return real(*given, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, dying)
        with pytest.raises(KeyboardInterrupt):
            yield
