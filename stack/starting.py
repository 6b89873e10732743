"""Starting the chosen services: each when what it needs is healthy, and then until it is so itself.

Everything that can start at the same time does. The first failure ends the waiting of all; what runs is left running.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from rich.console import Console
from rich.markup import escape

from access.kafka_acls import super_users
from access.policy import Policy
from resources.kafka import ensure_topic
from resources.kafka_rights import KafkaRights
from resources.settings import Settings
from resources.topics import topics
from stack import directory, gateway, kafka, postgres, s3
from stack.errors import ServiceFailed
from stack.health import Health, Probes
from stack.paths import Layout
from stack.services import Service
from stack.state import StackState
from stack.supervision import Supervisor

# A service that ended this often right after its start will not come up by waiting.
TRIES = 3


class Starter:
    """Starts services of one stack.

    Args:
        layout: the stack's folders.
        state: with places and ports settled.
        admin: settings of the stack's owner.
        policy: this distribution's.
        supervisor: runs, and knows the services.
        running: the services that ran before.
        console: where progress goes.
        timeout: seconds that one service may take to become healthy.
    """

    def __init__(
        self,
        layout: Layout,
        state: StackState,
        admin: Settings,
        policy: Policy,
        supervisor: Supervisor,
        running: Collection[str],
        console: Console,
        timeout: float,
    ) -> None:
        self._layout = layout
        self._state = state
        self._admin = admin
        self._supervisor = supervisor
        self._running = running
        self._console = console
        self._timeout = timeout
        self._policy = policy
        self._probes = Probes(layout, state, admin)
        self._failed = threading.Event()

    def start(self, chosen: Sequence[Service]) -> None:
        """Start each service as soon as what it needs is healthy.

        Raises:
            ServiceFailed: one does not come up; with the last lines of its log.
        """
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
            gateway.prepare(self._layout, self._state, gateway.configuration(self._layout, self._state, self._admin))

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
