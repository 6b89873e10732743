"""`darkroom down`: everything of the stack stops, in reverse order; data stay.

First through the supervisor, each service with the time it needs; then whatever is left, by environment, pid and
start time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from stack.errors import StackMissing
from stack.lock import exclusively
from stack.paths import Layout
from stack.processes import end_services, living, wait_until
from stack.service_names import STOP_WAVES
from stack.state import StackState, load_state, save_state
from stack.supervision import Supervisor


def stop(home: Path, console: Console) -> None:
    """Stop the stack in `home`. Harmless when nothing runs, or there is no stack."""
    layout = Layout(home.absolute())

    def say(sentence: str) -> None:
        console.print(escape(sentence), soft_wrap=True)

    try:
        load_state(layout.home)
    except StackMissing:
        say(f"There is no stack in {layout.home}: nothing to stop.")
        return
    with exclusively(layout, say):
        state = load_state(layout.home)
        stopped = stop_everything(layout, state, say)
        save_state(layout.home, state)
    say("Darkroom is down; its data stay." if stopped else "Nothing ran.")


def stop_everything(layout: Layout, state: StackState, say: Callable[[str], None]) -> bool:
    """Stop supervised services in waves, the supervisor, then strays. Called with the lock held.

    Returns:
        Whether anything ran.
    """
    supervisor = Supervisor(layout, state)
    ran = supervisor.runs()
    if ran:
        supervisor.stop_all()
        supervisor.shutdown()
        wait_until(lambda: not supervisor.runs(), 20)
    found = living(state)
    if found and not ran:
        say("No supervisor answered; what it left behind is ended.")
    for sentence in end_services(found, STOP_WAVES):
        say(sentence)
    state.processes = []
    return ran or bool(found)
