"""What targets are made of, and mutation for those who have no atheris."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SEPARATOR = b"\x1e"
"""Between the parts of an input that a target takes apart: one byte, so that a mutation makes and moves it easily."""

WORDS = [
    SEPARATOR,
    b"\0",
    b"\xff",
    b"\n",
    b'"',
    b"[",
    b"{",
    b":",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"\\ud800",
    b"!!int",
]
"""What a search may put in anywhere: what ends, opens and overflows things in most formats here."""

INSTRUMENTED = [
    "transforms",
    "access",
    "resources",
    "services",
    "yaml",
    "json",
    "csv",
    "jwt",
    "PIL",
    "python_multipart",
]
"""Packages whose lines and comparisons guide the search; all that a target reaches and that is Python."""


@dataclass(frozen=True)
class Target:
    """A place where bytes are parsed: `run` raises on a finding, `seeds` makes what the search begins with."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: dict[str, Target] = {}


def target(seeds: Callable[[], list[bytes]]) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Make a function a target, under its own name."""

    def taken(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[function.__name__] = Target(function.__name__, function, seeds)
        return function

    return taken


@contextmanager
def refusal(*kinds: type[Exception]) -> Iterator[None]:
    """Inside, these exceptions are documented refusals: they say why, in words that a log or a page can hold."""
    try:
        yield
    except kinds as error:
        said = str(error)
        assert said, f"{type(error).__name__} says nothing"
        said.encode()


def pieces(data: bytes, count: int) -> list[bytes]:
    """The input in `count` parts; those that are not there are empty, and the last one has the rest."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def joined(*parts: bytes) -> bytes:
    """An input that `pieces` takes apart."""
    return SEPARATOR.join(parts)


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """A seed with one to four things done to its bytes."""
    body = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at, count = chance.randint(0, len(body)), chance.choice([1, 1, 2, 4, 16, 64])
        match chance.randint(0, 5):
            case 0:
                body[at : at + count] = chance.randbytes(count)
            case 1:
                del body[at : at + count]
            case 2:
                body[at:at] = body[at : at + count]
            case 3:
                body[at:at] = chance.choice(WORDS)
            case 4:
                other = chance.choice(seeds)
                place = chance.randint(0, len(other))
                body[at:at] = other[place : place + count]
            case _:
                del body[at:]
    return bytes(body)
