"""`darkroom wipe`: the stack stops, and everything it made goes. A dry run unless told otherwise.

Only folders that a stack makes are touched, and only in a home that has a stack's memory; `darkroom.toml` stays. With
the keys go the only means to open what was sealed: a backup of the lake stays dark.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stack.down import stop_everything
from stack.errors import StackMissing
from stack.lock import exclusively
from stack.paths import Layout
from stack.postgres_place import area_of
from stack.state import StackState, load_state


def what_goes(layout: Layout, state: StackState) -> list[Path]:
    """Every folder that `wipe` removes, those outside the home last."""
    inside = [folder for folder in layout.folders if folder.is_dir() and not folder.is_symlink()]
    outside = [area_of(state.postgres), state.run if state.run.parent != layout.home else None]
    return [*inside, *(folder for folder in outside if folder is not None and folder.is_dir())]


def wipe(home: Path, console: Console, really: bool) -> None:
    """Say what goes; with `really`, stop the stack and remove it. Harmless when there is no stack."""
    layout = Layout(home.absolute())

    def say(sentence: str) -> None:
        console.print(escape(sentence), soft_wrap=True)

    try:
        state = load_state(layout.home)
    except StackMissing:
        say(f"There is no stack in {layout.home}: nothing to remove.")
        return
    if not really:
        say("These would go, and with the keys every means to open the images (nothing is removed without --yes):")
        for folder in what_goes(layout, state):
            say(f"  {folder}")
        return
    with exclusively(layout, say):
        state = load_state(layout.home)
        stop_everything(layout, state, say)
        # The memory goes last: a wipe that was interrupted can be repeated.
        for folder in sorted(what_goes(layout, state), key=lambda folder: folder == layout.state):
            shutil.rmtree(folder)
            say(f"removed {folder}")
    if not any(layout.home.iterdir()):
        layout.home.rmdir()
