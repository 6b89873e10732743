"""`darkroom up`: from whatever is there to a healthy stack.

Everything that can start at the same time does; each service starts when what it needs is healthy. A second `up`
finds all of it running and changes nothing. After a crash it first ends what a dead supervisor left behind, by
environment, pid and start time, and then starts as usual; the code server fails the runs of dead processes
(stack/code_server.py).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from access.kafka_acls import super_users
from access.policy import load_policy
from resources.kafka import ensure_topic
from resources.kafka_rights import KafkaRights
from resources.lake_check import check_lake
from resources.settings import load_settings
from resources.topics import topics
from stack import ca, dagster_home, directory, gateway, kafka, postgres, s3, spark_cluster
from stack.doctor import insist
from stack.errors import ServiceFailed
from stack.health import Health, Probes
from stack.home import make, recognise, settle_run
from stack.key_store import settle_key_store
from stack.lake_place import Lake, settle_lake
from stack.lock import exclusively
from stack.paths import Layout
from stack.ports import choose
from stack.postgres_place import settle
from stack.processes import end_services, kill, left_sessions, living, other_stacks, remember
from stack.services import PORT_NAMES, STOP_WAVES, Service, gateway_configuration, ports_of, select, services
from stack.signing import signer
from stack.state import IDENTITIES, identity_overrides, save_state
from stack.supervision import Supervisor

RUNNING = ("RUNNING", "STARTING")
# A service that ended this often right after its start will not come up by waiting.
TRIES = 3
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
        self._failed = threading.Event()
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
        self._running = running = {
            name for name, info in supervisor.processes().items() if info["statename"] in RUNNING
        }
        self._choose_ports(running)
        self._certify(running)
        if state.spark_cluster:
            spark_cluster.prepare(layout)
        if "postgres" not in running:
            state.postgres = settle(layout, state.postgres, say)
        save_state(layout.home, state)
        self._admin = load_settings(identity_overrides(layout, state, "admin"))
        if self._admin.lake and state.lake != s3.S3:
            check_lake(self._admin)
        settle_key_store(state, self._admin)
        save_state(layout.home, state)
        signer(layout, self._admin).initialise()
        dagster_home.prepare(layout, state)
        every = services(layout, state, self._admin)
        chosen = select(every, only)
        running -= set(supervisor.configure(every))
        if not supervisor.runs():
            supervisor.launch()
        self._probes = Probes(layout, state, self._admin)
        try:
            self._start_all(chosen)
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

    def _start_all(self, chosen: Sequence[Service]) -> None:
        """Start each service as soon as what it needs is healthy; the first failure ends the waiting of all."""
        waiting = {service.name: service for service in chosen}
        healthy: set[str] = set()
        at_work: dict[Future[float], str] = {}
        with ThreadPoolExecutor(len(chosen)) as pool, self._console.status("starting") as spinner:
            try:
                while waiting or at_work:
                    for name, service in list(waiting.items()):
                        if healthy.issuperset(service.needs):
                            at_work[pool.submit(self._start_one, waiting.pop(name))] = name
                    spinner.update(f"waiting for {', '.join(sorted(at_work.values()))}")
                    for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                        name = at_work.pop(done)
                        seconds = done.result()
                        healthy.add(name)
                        self._report(name, seconds, next(one.url for one in chosen if one.name == name))
            except BaseException:
                self._failed.set()
                raise

    def _report(self, name: str, seconds: float, url: str | None) -> None:
        took = "runs already" if name in self._running else f"{seconds:.1f} s"
        self._console.print(f"[green]ok[/]   {name:<19} {took:>12}   {escape(url or '')}", soft_wrap=True)

    def _start_one(self, service: Service) -> float:
        """Prepare, start, wait until healthy, furnish. Returns the seconds it took."""
        began = time.monotonic()
        name = service.name
        prepared = name in self._running
        if not prepared:
            self._prepare(name)
        self._supervisor.start(name)
        since = time.time()
        if prepared:
            # A sign of life counts from the start of the process that gives it.
            since = float(self._supervisor.processes().get(name, {}).get("start", 0))
        self._wait(name, since)
        self._furnish(name)
        return time.monotonic() - began

    def _prepare(self, name: str) -> None:
        place = self._state.postgres
        if name == "postgres" and place is not None:
            postgres.prepare(self._layout, place, self._state.ports["postgres"], self._policy)
        if name == "kafka":
            kafka.prepare(self._layout, self._admin, self._state.ports, super_users(self._policy), self._state.run)
        if name == directory.DIRECTORY:
            directory.prepare(self._layout, self._state.ports[name])
        if name == s3.S3:
            s3.prepare(self._layout, self._state.ports[s3.S3])
        if name == gateway.GATEWAY:
            gateway.prepare(self._layout, self._state, gateway_configuration(self._layout, self._state, self._admin))

    def _furnish(self, name: str) -> None:
        if name == directory.DIRECTORY:
            directory.furnish(self._layout, self._state.ports[name], self._policy)
        if name == "postgres":
            postgres.furnish(self._layout, self._state.ports["postgres"], self._policy)
        if name == "kafka":
            for topic in topics(self._admin):
                ensure_topic(self._admin, topic.name)
            # Who is in which group is asked later, once the directory runs.
            KafkaRights(self._admin, self._policy).apply()

    def _wait(self, name: str, since: float) -> None:
        deadline = time.monotonic() + self._timeout
        ended: set[int] = set()
        health = Health(False)
        while not self._failed.is_set():
            health = self._probes.check(name, since)
            if health.ok:
                return
            info = self._supervisor.processes().get(name, {})
            if info.get("statename") in ("BACKOFF", "EXITED", "FATAL"):
                ended.add(info["start"])
            if len(ended) >= TRIES:
                raise self._failure(name, f"ended {TRIES} times right after its start ({health.detail})")
            if time.monotonic() > deadline:
                raise self._failure(name, f"was not healthy within {self._timeout:.0f} s ({health.detail})")
            time.sleep(0.3)
        raise ServiceFailed(f"{name} was no longer waited for, because another service failed.")

    def _failure(self, name: str, what: str) -> ServiceFailed:
        log = self._layout.log(name)
        try:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        except FileNotFoundError:
            tail = "(it wrote no log)"
        return ServiceFailed(
            f"{name} {what}. What runs is left running; `darkroom down` stops it. The end of {log}:\n{tail}"
        )
