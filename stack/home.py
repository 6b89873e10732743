"""A stack's home: made, recognised when it was moved or copied, and its short folder for sockets."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from stack.errors import StackError, StackMissing
from stack.paths import Layout, fits_sockets
from stack.postgres_place import area_of
from stack.processes import end_services, living
from stack.service_names import STOP_WAVES
from stack.state import StackState, load_state, state_file

# What no line of the supervisor's configuration can hold.
UNWRITABLE = re.compile(r"[\x00-\x1f]|\s[;#]")
Say = Callable[[str], None]


def make(layout: Layout) -> None:
    """Make the home and its folders, for their owner alone. Raises StackError for a name that cannot be written down.

    Started by root, the home itself may be passed through (0711) by PostgreSQL's account; nothing in it but that
    account's own folder can be entered or read.
    """
    if UNWRITABLE.search(str(layout.home)):
        raise StackError(
            f"{str(layout.home)!r} cannot be a home: the supervisor's file would take ' #' or ' ;' for a comment."
        )
    if not layout.home.exists():
        layout.home.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, parents=True)
        layout.home.chmod(0o711 if os.getuid() == 0 else 0o700)
    for folder in layout.folders:
        if folder != layout.postgres:
            folder.mkdir(mode=0o700, exist_ok=True)


def recognise(layout: Layout, say: Say) -> StackState:
    """The stack's memory: read, or new; set right, and said, when the home was moved or is a copy."""
    try:
        state = load_state(layout.home)
    except StackMissing:
        return StackState(home=layout.home, run=layout.run)
    if state.home == layout.home:
        return state
    if _is_at(state.home, state.id):
        say(f"This home is a copy of {state.home}: it becomes a stack of its own, with other ports.")
        fresh = StackState(home=layout.home, run=layout.run)
        if state.postgres is not None and area_of(state.postgres) is not None:
            say(
                f"PostgreSQL's data of {state.home} lie outside of it ({state.postgres.folder}) and were not copied: "
                "here, Dagster's history of runs and the states of images start empty."
            )
        return fresh
    say(f"This home was moved here from {state.home}: its configuration is written anew for {layout.home}.")
    found = living(state)
    if found:
        end_services(found, STOP_WAVES)
        say("Processes still ran from the old folder and were stopped.")
    place = state.postgres
    if place is not None and not place.temporary:
        place = place.model_copy(update={"folder": layout.postgres})
    return state.model_copy(update={"home": layout.home, "postgres": place, "processes": []})


def _is_at(home: Path, stack_id: str) -> bool:
    try:
        return state_file(home).is_file() and load_state(home).id == stack_id
    except (StackMissing, OSError):
        return False


def settle_run(layout: Layout, state: StackState, say: Say) -> Path:
    """The folder for sockets: the home's, or a short one under the temporary area, which `wipe` removes."""
    if fits_sockets(layout.run):
        return layout.run
    if (
        state.run != layout.run
        and fits_sockets(state.run)
        and state.run.is_dir()
        and state.run.stat().st_uid == os.getuid()
    ):
        return state.run
    folder = Path(tempfile.mkdtemp(prefix="darkroom-run-"))
    if not fits_sockets(folder):
        shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(prefix="darkroom-run-", dir="/tmp"))
    say(
        f"{layout.run} is too long or unusual for a Unix socket: the sockets are in {folder} "
        "(`darkroom wipe` removes it)."
    )
    return folder
