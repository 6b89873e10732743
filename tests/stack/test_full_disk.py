"""With a full disk the supervisor cannot write a line down, and goes on all the same: its services live."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest
from supervisor.xmlrpc import SupervisorTransport

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="it takes Linux's /dev/full, which is a full disk")
CONFIGURATION = """
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
nodaemon=true
silent=true
logfile={full}
logfile_maxbytes=0
pidfile={folder}/s.pid
{user}
[program:talker]
command=sh -c "while echo a line; do sleep 0.05; done"
stdout_logfile={full}
stdout_logfile_maxbytes=0
redirect_stderr=true
"""


@pytest.fixture
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], Any]]]:
    folder = tmp_path_factory.mktemp("s")
    user = "user=root" if os.getuid() == 0 else ""
    (folder / "s.conf").write_text(CONFIGURATION.format(folder=folder, full=FULL, user=user))
    with FULL.open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.supervisor", "-c", str(folder / "s.conf")], stdout=full, stderr=full
        )

    def told() -> Any:
        """What it says of its one service; a new connection each time, for one that failed stays as it is."""
        transport = SupervisorTransport(None, None, f"unix://{folder}/s.sock")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor.getProcessInfo("talker")

    try:
        yield process, told
    finally:
        process.terminate()
        process.wait(20)


def test_it_lives_and_its_services_do(supervisor: tuple[subprocess.Popen[bytes], Callable[[], Any]]) -> None:
    process, told = supervisor
    deadline = time.monotonic() + 30
    pid = 0
    while not pid:
        assert process.poll() is None, "the supervisor ended for want of room for a line"
        assert time.monotonic() < deadline
        time.sleep(0.1)
        with suppress(OSError):
            pid = told()["pid"]
    time.sleep(2)  # forty lines that cannot be written
    assert process.poll() is None, "the supervisor ended for want of room for a line"
    assert told()["pid"] == pid
