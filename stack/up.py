"""`darkroom up`: from whatever is there to a healthy stack.

What the stack is (places, ports, certificates, keys) is settled first; then its services start (stack/starting.py). A
second `up` finds all of it running and changes nothing. After a crash it first ends what a dead supervisor left behind,
by environment, pid and start time, and then starts as usual; the code server fails the runs of dead processes
(stack/code_server.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from access.policy import load_policy
from resources.lake_check import check_lake
from resources.settings import load_settings
from stack import ca, dagster_home, directory, gateway, s3, spark_cluster
from stack.doctor import insist
from stack.home import make, recognise, settle_run
from stack.key_store import settle_key_store
from stack.lake_place import Lake, settle_lake
from stack.lock import exclusively
from stack.paths import Layout
from stack.ports import choose
from stack.postgres_place import settle
from stack.processes import end_services, kill, left_sessions, living, other_stacks, remember
from stack.service_names import PORT_NAMES, STOP_WAVES, ports_of
from stack.services import select, services
from stack.signing import signer
from stack.starting import Starter
from stack.state import IDENTITIES, identity_overrides, save_state
from stack.supervision import Supervisor

RUNNING = ("RUNNING", "STARTING")
Say = Callable[[str], None]


def start(
    home: Path,
    console: Console,
    only: Sequence[str] = (),
    timeout: float = 180.0,
    lake: Lake | None = None,
    cluster: bool | None = None,
) -> None:
    """Start the stack in `home`, or the services `only` names and what they need.

    Args:
        console: where progress goes.
        timeout: seconds that one service may take to become healthy.
        lake: where a new stack keeps its tables; None for what this one has, at first a folder.
        cluster: whether a Spark cluster does the work on images; None for what this one has, at first none.

    Raises:
        StackError: something is missing, or a service does not come up; with the last lines of its log.
    """
    os.umask(0o077)
    layout = Layout(home.absolute())
    began = time.monotonic()

    def say(sentence: str) -> None:
        console.print(f"[yellow]note[/] {escape(sentence)}", soft_wrap=True)

    insist(layout.home)
    make(layout)
    with exclusively(layout, say):
        _Start(layout, console, say, timeout).run(only, lake, cluster)
    console.print(
        f"Darkroom is up in {escape(str(layout.home))} after {time.monotonic() - began:.1f} s.", soft_wrap=True
    )


class _Start:
    """One start: what its steps share."""

    def __init__(self, layout: Layout, console: Console, say: Say, timeout: float) -> None:
        self._layout = layout
        self._console = console
        self._say = say
        self._timeout = timeout
        self._policy = load_policy()

    def run(self, only: Sequence[str], lake: Lake | None, cluster: bool | None) -> None:
        layout, say = self._layout, self._say
        self._state = state = recognise(layout, say)
        for other in other_stacks(state).values():
            say(f"Another Darkroom stack runs on this machine, in {other}: the two share its cores.")
        settle_lake(state, lake, load_settings({"home": str(layout.home)}))
        if cluster is not None:
            state.spark_cluster = cluster
        if state.spark_cluster:
            spark_cluster.insist_on_spark(load_settings({"home": str(layout.home)}))
        self._supervisor = supervisor = Supervisor(layout, state)
        if not supervisor.runs():
            self._clear_orphans()
            state.run = settle_run(layout, state, say)
        else:
            self._clear_left_sessions()
        running = {name for name, info in supervisor.processes().items() if info["statename"] in RUNNING}
        self._choose_ports(running)
        self._certify(running)
        if state.spark_cluster:
            spark_cluster.prepare(layout)
        if "postgres" not in running:
            state.postgres = settle(layout, state.postgres, say)
        save_state(layout.home, state)
        admin = load_settings(identity_overrides(layout, state, "admin"))
        if admin.lake and state.lake != s3.S3:
            check_lake(admin)
        settle_key_store(state, admin)
        save_state(layout.home, state)
        signer(layout, admin).initialise()
        dagster_home.prepare(layout, state)
        every = services(layout, state, admin)
        chosen = select(every, only)
        running -= set(supervisor.configure(every))
        if not supervisor.runs():
            supervisor.launch()
        starter = Starter(layout, state, admin, self._policy, supervisor, running, self._console, self._timeout)
        try:
            starter.start(chosen)
        finally:
            self._remember()

    def _clear_orphans(self) -> None:
        """End what a killed supervisor left; what it held (ports, sockets, locks) is free after."""
        state = self._state
        found = living(state)
        if found:
            names = ", ".join(f"{name} ({len(found[name])})" for name in found)
            self._say(f"The last supervisor is gone, and left processes behind: {names}. They are ended first.")
            for sentence in end_services(found, STOP_WAVES):
                self._say(sentence)
        elif state.processes:
            self._say("The last stack was not stopped by `darkroom down`, and nothing of it runs any more.")
        state.processes = []

    def _clear_left_sessions(self) -> None:
        """End the hung sessions of a killed server: until then the supervisor tries to start another in vain."""
        place, supervisor = self._state.postgres, self._supervisor.pid()
        left = left_sessions(place.data, supervisor) if place is not None and supervisor is not None else []
        if left:
            self._say(
                f"PostgreSQL was killed, and {len(left)} of its sessions hang and keep a new one out: they are ended."
            )
            kill(left)

    def _choose_ports(self, running: set[str]) -> None:
        state = self._state
        before = dict(state.ports)
        state.ports, moved = choose(PORT_NAMES, before, ports_of(running))
        for name in moved:
            self._say(
                f"Port {before[name]} of {name} is taken by another process: from now on it is {state.ports[name]}."
            )

    def _certify(self, running: set[str]) -> None:
        asked = {s3.S3: self._state.lake == s3.S3, spark_cluster.IDENTITY: self._state.spark_cluster}
        chosen = (name for name, wanted in asked.items() if wanted)
        servers = ("postgres", directory.DIRECTORY, gateway.GATEWAY, *chosen)
        issued = ca.issue(self._layout, (*IDENTITIES, *servers), datetime.now(UTC))
        if issued and running:
            self._say(f"Certificates were issued anew ({', '.join(issued)}): every service starts again with them.")
            self._supervisor.stop_all()
            running.clear()

    def _remember(self) -> None:
        pids = {name: int(info["pid"]) for name, info in self._supervisor.processes().items() if info["pid"]}
        pids["supervisor"] = self._supervisor.pid() or 0
        self._state.processes = [one for name, pid in pids.items() if pid and (one := remember(name, pid)) is not None]
        save_state(self._layout.home, self._state)
