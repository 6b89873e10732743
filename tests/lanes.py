"""The two lanes of `make test`: the tests of the running stack, and beside them those that need none.

The stack's tests wait most of the time, for a broker that comes back or a run that ends, and leave the processor to
others. It rests on pytest-xdist: one worker runs all of the stack's tests in order, the other takes the other modules
one by one, and both share what is left when one is done. In one process (`pytest` as it is) there are no lanes, and the
order is the usual one.

A test that measures CPU, memory or short times is marked `alone`: it runs at the end of the stack's lane, under a lock
that no other test shares. Those that start a stack of their own (`own_stack`) are the first of the other lane: while
the stack's lane is busy, so that there are never three stacks on two cores.

The workers write down which test is of which lane, for xdist's own groups travel in a test's id, which pytest 9.2 no
longer lets it change: with `--dist loadgroup` nothing is grouped, and nothing says so.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.live_stack import tear_down

STACK_LANE = "stack"
_AREA, _SHARED = "darkroom_area", "darkroom_shared"


def area_of(config: pytest.Config) -> Path | None:
    """A worker's own folder, which the process that hands the tests out removes; None where there are no lanes."""
    return _given(config, _AREA)


def _given(config: pytest.Config, name: str) -> Path | None:
    given = getattr(config, "workerinput", {}).get(name)
    return Path(given) if given else None


@contextmanager
def passage(shared: Path, alone: bool) -> Iterator[None]:
    """Run beside others, or alone. Who waits to be alone stands in the door meanwhile, so that nobody else goes in.

    The locks are the process's: a child does not inherit them, and a process that ends gives them back.
    """
    with open(shared / "door", "a+") as door, open(shared / "room", "a+") as room:
        fcntl.lockf(door, fcntl.LOCK_EX)
        fcntl.lockf(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.lockf(door, fcntl.LOCK_UN)
        yield


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _lane(item: pytest.Item) -> str:
    # By the mark too: a fixture that asks for the stack only for some of its parameters does not name it.
    of_stack = "stack" in getattr(item, "fixturenames", ()) or item.get_closest_marker("stack") is not None
    of_stack = of_stack or _is_alone(item)
    return STACK_LANE if of_stack else item.nodeid.split("::")[0]


def _turn(item: pytest.Item) -> tuple[bool, bool, bool]:
    return _lane(item) != STACK_LANE, _is_alone(item), item.get_closest_marker("own_stack") is None


class Worker:
    """In a worker: says which lane a test is of, and keeps to the locks."""

    def __init__(self, shared: Path, name: str) -> None:
        self._shared = shared
        self._name = name

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=_turn)
        lanes = {item.nodeid: _lane(item) for item in items}
        (self._shared / f"{self._name}.json").write_text(json.dumps(lanes))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        with passage(self._shared, _is_alone(item)):
            return (yield)


class Controller:
    """In the process that hands the tests out; at the end it removes what a worker that died has left."""

    def __init__(self) -> None:
        self._shared = Path(tempfile.mkdtemp(prefix="darkroom-lanes-"))
        self._areas: list[Path] = []

    @cached_property
    def lanes(self) -> dict[str, str]:
        """The lane of every test by its id; known once a worker has collected."""
        found = {}
        for told in self._shared.glob("*.json"):
            found |= json.loads(told.read_text())
        return found

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        self._areas.append(Path(tempfile.mkdtemp(prefix="darkroom-test-")))
        node.workerinput |= {_AREA: str(self._areas[-1]), _SHARED: str(self._shared)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        from xdist.scheduler import LoadScopeScheduling

        controller = self

        class Lanes(LoadScopeScheduling):
            """Hands out whole lanes, in the order in which the workers have them."""

            def _split_scope(self, nodeid: str) -> str:
                return controller.lanes[nodeid]

        config.option.loadscopereorder = False
        return Lanes(config, log)

    def pytest_unconfigure(self) -> None:
        for area in self._areas:
            tear_down(area / "home")
            shutil.rmtree(area, ignore_errors=True)
        shutil.rmtree(self._shared, ignore_errors=True)


def join_lanes(config: pytest.Config) -> None:
    """Take this process's part, if the run has several."""
    shared = _given(config, _SHARED)
    if shared is not None:
        config.pluginmanager.register(Worker(shared, config.workerinput["workerid"]))  # type: ignore[attr-defined]
    elif getattr(config.option, "dist", "no") != "no":
        config.pluginmanager.register(Controller(), Controller.__name__)


def lanes_of(config: pytest.Config) -> dict[str, str]:
    """The lane of every test by its id; empty where there are none."""
    controller = config.pluginmanager.get_plugin(Controller.__name__)
    return {} if controller is None else controller.lanes
