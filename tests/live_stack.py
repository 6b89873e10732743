"""One running stack for a session of tests: started by the command a person types, torn down by what it recorded."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.dagster_api import DagsterApi
from cli.dagster_runs import dagster_of
from resources.settings import Settings
from stack.directory import DIRECTORY, people
from stack.paths import Layout
from stack.processes import end_services, living
from stack.service_names import STOP_WAVES, UPLOADS
from stack.signing import development_token
from stack.state import load_state, stack_settings
from stack.status import describe
from stack.supervision import Supervisor

DARKROOM = Path(sys.executable).with_name("darkroom")


class LiveStack:
    """A running stack, seen as a client and as someone who may kill its processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        report = self.status()
        self.dagster_url: str = report["dagster"]["url"]
        self.url: str = report["gateway"]["url"]
        """Of the gateway, by which everybody comes in."""
        self.instances: list[str] = [report["services"][name]["url"] for name in UPLOADS]
        """Of the upload service, which let nobody in but `as_gateway`."""
        self.stream_url: str = report["streams"]["url"]
        self.ca: str = report["gateway"]["ca"]

    def run(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run `darkroom` on this stack; with `check`, its failure fails the test with what it said."""
        done = run_darkroom(self.home, *arguments, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(
                f"darkroom {' '.join(arguments)} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def status(self) -> dict[str, Any]:
        """What `darkroom status --json` prints, without the second that the command takes to start."""
        return describe(self.home)

    def settings(self, identity: str = "operator") -> Settings:
        """Settings with an identity's certificates."""
        return stack_settings(self.home, identity)

    def token(self, subject: str = "demo", groups: Sequence[str] = ("image-uploaders",)) -> str:
        """A bearer token for the door, as `darkroom token` prints it."""
        return development_token(self.home, subject, tuple(groups), ttl_seconds=3600)

    def as_gateway(self) -> ssl.SSLContext:
        """TLS of the gateway towards the services behind it."""
        layout = Layout(self.home)
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(layout.hop_certificate, layout.hop_key)
        return context

    def dagster(self) -> DagsterApi:
        """Dagster as the stack's owner asks it."""
        return dagster_of(self.home)

    @contextmanager
    def person(self, *groups: str) -> Iterator[tuple[str, str]]:
        """Somebody of the directory in these groups, for a while: name and password."""
        layout, name, password = Layout(self.home), f"p-{uuid.uuid4().hex[:12]}", secrets.token_urlsafe(16)
        directory = people(layout, load_state(self.home).ports[DIRECTORY])
        directory.put(name, list(groups), password)
        try:
            yield name, password
        finally:
            directory.remove(name)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """A service stopped in good order, for a while."""
        supervisor = Supervisor(Layout(self.home), load_state(self.home))
        supervisor.stop(name)
        try:
            yield
        finally:
            supervisor.start(name)

    def pid(self, name: str) -> int:
        """The pid of a service; fails when it has none."""
        pid = self.status()["services"][name]["pid"]
        assert pid is not None, f"{name} does not run"
        return pid

    def kill(self, name: str) -> int:
        """kill -9 a service's process. Returns the pid it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_healthy(self, *names: str, timeout: float = 120) -> None:
        """Wait until the named services (all, when none is named) answer."""
        deadline = time.monotonic() + timeout
        while True:
            services = self.status()["services"]
            missing = {
                name: services[name]["state"] for name in names or services if services[name]["state"] != "running"
            }
            if not missing:
                return
            assert time.monotonic() < deadline, f"not running after {timeout:.0f} s: {missing}\n{logs(self.home)}"
            time.sleep(0.5)


def run_darkroom(
    home: Path, *arguments: str, timeout: float = 600, identity: dict[str, Any] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, with only the path and the folder for temporary files of this environment.

    Args:
        identity: `user`, `group` and `extra_groups` of another account, which only root may become.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "JAVA_HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(DARKROOM), "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd="/",
        env={**kept, "COLUMNS": "200", **environment},
        **(identity or {}),
    )


def bring_up(home: Path, *options: str) -> LiveStack:
    """Start a stack; when it does not come up, fail with what it said and every log's end."""
    done = run_darkroom(home, "up", *options)
    if done.returncode != 0:
        raise AssertionError(f"darkroom up gave {done.returncode}:\n{done.stdout}\n{done.stderr}\n{logs(home)}")
    return LiveStack(home)


@contextmanager
def own_stack(*options: str, **environment: str) -> Iterator[LiveStack]:
    """A stack of a test's own, with everything in it gone afterwards."""
    # Not pytest's tmp_path: that is too long for sockets and closed to PostgreSQL's account.
    area = Path(tempfile.mkdtemp(prefix="darkroom-own-"))
    area.chmod(0o711)
    home = area / "home"
    try:
        done = run_darkroom(home, "up", *options, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        yield LiveStack(home)
    finally:
        tear_down(home)
        shutil.rmtree(area, ignore_errors=True)


def tear_down(home: Path) -> None:
    """Stop a stack by its command, then by what it recorded, whatever state it is in; and remove what lies outside."""
    state_known = (Layout(home).state / "stack.json").is_file()
    if not state_known:
        return
    state = load_state(home)
    run_darkroom(home, "down", timeout=180)
    end_services(living(state), STOP_WAVES, seconds=5)
    run_darkroom(home, "wipe", "--yes", timeout=180)


def logs(home: Path, lines: int = 15) -> str:
    """The end of every service's log."""
    parts = []
    for path in sorted(Layout(home).logs.glob("*.log")):
        tail = path.read_text(errors="replace").splitlines()[-lines:]
        parts.append("\n".join([f"--- {path.name}", *tail]))
    return "\n".join(parts) or f"no logs in {Layout(home).logs}"
