"""Where a stack keeps its lake: decided once, and held to."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.settings import Settings
from stack.errors import StackError
from stack.lake_place import settle_lake
from stack.state import StackState


def state(lake: str | None = None, ports: dict[str, int] | None = None) -> StackState:
    return StackState(home=Path("/h"), run=Path("/r"), lake=lake, ports=ports or {})


@pytest.mark.parametrize(("wanted", "found"), [(None, "folder"), ("folder", "folder"), ("s3", "s3")])
def test_a_new_stack_has_what_was_asked_for_and_else_a_folder(wanted: str | None, found: str) -> None:
    new = state()
    settle_lake(new, wanted, Settings())
    assert new.lake == found


@pytest.mark.parametrize("before", ["folder", "s3"])
def test_it_keeps_that_when_nothing_is_asked(before: str) -> None:
    old = state(before, {"kafka": 1})
    settle_lake(old, None, Settings())
    assert old.lake == before


@pytest.mark.parametrize(("before", "wanted"), [("folder", "s3"), ("s3", "folder"), (None, "s3")])
def test_another_place_is_refused_for_tables_do_not_move(before: str | None, wanted: str) -> None:
    """None: a home of before the choice, whose lake is in its folder."""
    old = state(before, {"kafka": 1})
    with pytest.raises(StackError, match=rf"up --lake {wanted}` makes another stack"):
        settle_lake(old, wanted, Settings())


def test_a_lake_elsewhere_and_the_stack_s_own_server_are_not_had_together() -> None:
    with pytest.raises(StackError, match="DARKROOM_LAKE"):
        settle_lake(state(), "s3", Settings(lake="s3://bucket/x"))


def test_a_missing_jar_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="make jars-s3"):
        settle_lake(state(), "s3", Settings(jars=tmp_path / "kafka"))
