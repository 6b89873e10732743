"""The supervisor underneath: `supervisor` 4.3, told by a file, asked over XML-RPC on a Unix socket.

It restarts what dies: at once when the process had lived for ten seconds, later and later when it had not. It never
gives up by itself: a broker that waits for a disk comes back when the disk does. It is started in a session of its
own, so that a terminal's hang-up does not reach it.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from stack.errors import StackError
from stack.paths import Layout, write_private
from stack.processes import HOME, SERVICE, SUPERVISOR, wait_until
from stack.service_environment import base_environment
from stack.service_names import STOP_WAVES
from stack.services import Service, with_mark
from stack.state import StackState

LIVED_SECONDS = 10
DESCRIPTORS = 65_536


def configuration_file(layout: Layout) -> Path:
    """The supervisor's configuration."""
    return layout.state / "supervisor.conf"


def socket_of(state: StackState) -> Path:
    """The supervisor's control socket."""
    return state.run / "supervisor.sock"


def configuration(layout: Layout, state: StackState, services: Sequence[Service]) -> str:
    """The supervisor's configuration, as text. A percent sign is doubled: the format expands `%(name)s`."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    descriptors = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    lines = [
        "; Written by `darkroom up`.",
        "[unix_http_server]",
        f"file={_plain(socket_of(state))}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        f"identifier=darkroom-{state.id}",
        "nodaemon=true",
        "silent=true",
        "strip_ansi=true",
        f"logfile={_plain(layout.log(SUPERVISOR))}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={_plain(state.run / 'supervisor.pid')}",
        f"childlogdir={_plain(layout.logs)}",
        f"minfds={descriptors}",
        "umask=077",
        *(["user=root"] if os.getuid() == 0 else []),
    ]
    for priority, service in enumerate(services, start=1):
        lines += [f"[program:{service.name}]", *_program(layout, state, service, priority)]
    return "\n".join(lines) + "\n"


def _program(layout: Layout, state: StackState, service: Service, priority: int) -> list[str]:
    # The supervisor's own syntax for an environment has no value with both kinds of quotes; `env` becomes the program.
    environment = (f"{name}={value}" for name, value in with_mark(service, state).items())
    return [
        f"command={_plain(shlex.join(['env', '-i', *environment, *service.command]))}",
        "directory=/",
        f"priority={priority}",
        "autostart=false",
        "autorestart=true",
        f"startsecs={LIVED_SECONDS}",
        "startretries=1000000",
        f"stopsignal={service.stop_signal}",
        f"stopwaitsecs={service.stop_seconds}",
        # PostgreSQL ends its own children; everyone else's get the signal too.
        f"stopasgroup={'false' if service.account or service.name == 'postgres' else 'true'}",
        "killasgroup=true",
        "redirect_stderr=true",
        # Of all names the supervisor expands this one twice.
        f"stdout_logfile={_plain(_plain(layout.log(service.name)))}",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=2",
        *([f"user={service.account}"] if service.account else []),
    ]


def _plain(value: object) -> str:
    return str(value).replace("%", "%%")


class Supervisor:
    """The supervisor of one stack. Each call is its own connection, so threads may share this."""

    def __init__(self, layout: Layout, state: StackState) -> None:
        self._layout = layout
        self._state = state

    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{socket_of(self._state)}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def runs(self) -> bool:
        """Whether it answers, and is this stack's."""
        try:
            return self._rpc().getIdentification() == f"darkroom-{self._state.id}"
        except OSError:
            return False
        except Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:
                raise
            # On its way out it answers nothing else, until it is gone.
            return True

    def pid(self) -> int | None:
        """Its pid; None when it does not answer."""
        try:
            return int(self._rpc().getPID())
        except OSError:
            return None

    def launch(self) -> None:
        """Start it, in a session of its own, and wait until it answers.

        Raises:
            StackError: it does not; with what it wrote.
        """
        socket_of(self._state).unlink(missing_ok=True)
        output = self._layout.logs / "supervisor.out"
        environment = {**base_environment(self._state), HOME: str(self._layout.home), SERVICE: SUPERVISOR}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "stack.supervisor", "-c", str(configuration_file(self._layout))],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        wait_until(lambda: self.runs() or process.poll() is not None, 20)
        if not self.runs():
            raise StackError(f"The supervisor did not start:\n{output.read_text(errors='replace')[-1500:]}")

    def configure(self, services: Sequence[Service]) -> list[str]:
        """Write the configuration; tell a running supervisor. Returns the services that were stopped for a change."""
        write_private(configuration_file(self._layout), configuration(self._layout, self._state, services))
        if not self.runs():
            return []
        # Also where the file is as it was: whoever wrote it may have been killed before the supervisor was told.
        rpc = self._rpc()
        ((added, modified, removed),) = rpc.reloadConfig()
        stopped = []
        for name in (*modified, *removed):
            rpc.stopProcessGroup(name)
            rpc.removeProcessGroup(name)
            stopped.append(name)
        for name in (*added, *modified):
            rpc.addProcessGroup(name)
        return stopped

    def start(self, name: str) -> None:
        """Start a service unless it runs already; does not wait."""
        try:
            self._rpc().startProcess(name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise StackError(f"The supervisor refused to start {name}: {fault.faultString}") from None

    def stop(self, name: str) -> None:
        """Stop a service and wait until it ended; it gets its own time, then is killed."""
        try:
            self._rpc().stopProcess(name, True)
        except Fault as fault:
            if fault.faultCode not in (Faults.NOT_RUNNING, Faults.BAD_NAME):
                raise StackError(f"The supervisor could not stop {name}: {fault.faultString}") from None

    def stop_all(self) -> None:
        """Stop every service, in the reverse order of starting; those of a wave at the same time."""
        for wave in STOP_WAVES:
            with ThreadPoolExecutor(len(wave)) as pool:
                list(pool.map(self.stop, wave))

    def shutdown(self) -> None:
        """End the supervisor itself."""
        self._rpc().shutdown()

    def processes(self) -> dict[str, dict[str, Any]]:
        """What it says of each service (statename, pid, start, stop, spawnerr); empty when it does not answer."""
        try:
            return {info["name"]: info for info in self._rpc().getAllProcessInfo()}
        except OSError:
            return {}
