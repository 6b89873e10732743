"""The stack's enforcement points: compared with the policy and the directory, and put right.

What holds rights of its own is changed where it is; what read the policy when it started is started anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from access.points import PointName
from access.policy import load_policy
from resources.enforcement import HoldersPoint, Point, everybody_of, points
from resources.failures import PlatformFailure
from stack.people import settle_people
from stack.state import stack_settings
from stack.up import start


@dataclass(frozen=True)
class Told:
    """What one point said: a difference, or why it cannot be asked."""

    point: PointName
    sentence: str
    away: bool = False


def compare(home: Path) -> Iterator[tuple[PointName, list[Told]]]:
    """What differs at each point of the stack, in the order to apply in; one that is away hides no other.

    Raises:
        StackError: no stack there.
    """
    for point in _points(home):
        yield point.name, _asked(point)


def apply(home: Path, console: Console) -> Iterator[Told]:
    """Put every point right, in order. Yields what was done.

    Args:
        console: where the progress of a start goes.

    Raises:
        StackError, PlatformFailure: a point is away or refuses; those before it are done, and a second call goes on.
    """
    restart = False
    for point in _points(home):
        if isinstance(point, HoldersPoint):
            differing = _asked(point)
            restart = restart or bool(differing)
            yield from differing
        else:
            for sentence in point.apply():
                yield Told(point.name, sentence)
    if restart:
        start(home, console)


def _points(home: Path) -> list[Point]:
    settings, policy = stack_settings(home, "admin"), load_policy()
    everybody = everybody_of(settings)
    return list(
        points(settings, policy, settings.postgres_dsn, everybody, settle=lambda people: settle_people(home, people))
    )


def _asked(point: Point) -> list[Told]:
    try:
        return [Told(point.name, sentence) for sentence in point.differences()]
    except PlatformFailure as error:
        return [Told(point.name, str(error), away=True)]
