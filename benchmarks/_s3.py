"""A real S3 server for a test or a measurement: s3proxy over TLS with signed requests, as the stack starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from resources.lake import Lake
from resources.object_storage import Storage, read_credentials
from resources.settings import Settings, load_settings
from stack import ca, s3
from stack.home import make
from stack.paths import Layout
from stack.ports import choose


class S3Server:
    """The server, seen as a client, as whoever owns its disk, and as someone who may stop and kill it."""

    def __init__(self, folder: Path) -> None:
        self._layout = Layout(folder)
        make(self._layout)
        ca.issue(self._layout, (s3.S3,), datetime.now(UTC))
        ports, _ = choose((s3.S3,), {}, set())
        self.port = ports[s3.S3]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """Folder with the bucket's objects."""
        return self._layout.s3 / "data" / s3.BUCKET

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The server's certificate and its key."""
        return self._layout.certificate(s3.S3), self._layout.key(s3.S3)

    def start(self) -> None:
        """Start, and wait until it answers."""
        s3.prepare(self._layout, self.port)
        log = self._layout.log(s3.S3).open("ab")
        self._process = subprocess.Popen(s3.command(self._layout, Settings()), stdout=log, stderr=subprocess.STDOUT)
        log.close()
        deadline = time.monotonic() + 60
        while (wrong := s3.answers(self._layout, self.port)) is not None:
            assert time.monotonic() < deadline, f"{wrong}\n{self._layout.log(s3.S3).read_text()[-2000:]}"
            assert self._process.poll() is None, self._layout.log(s3.S3).read_text()[-2000:]
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal."""
        if self._process is not None:
            os.kill(self._process.pid, how)
            self._process.wait(30)
            self._process = None

    def settings(self, **others: object) -> Settings:
        """Settings of a process whose lake lies in a new, empty place of the bucket."""
        own = s3.overrides(self._layout, self.port) | {"lake": f"s3://{s3.BUCKET}/{uuid.uuid4().hex}"}
        return load_settings({"home": str(self._layout.home), **own, **others})

    def lake(self) -> Lake:
        """A new, empty lake."""
        root = f"s3://{s3.BUCKET}/{uuid.uuid4().hex}"
        return Lake(root, replace(self.storage, root=root))

    @property
    def storage(self) -> Storage:
        """How the bucket is reached."""
        credentials = read_credentials(self._layout.s3_credentials)
        root = f"s3://{s3.BUCKET}"
        return Storage(root, s3.endpoint(self.port), s3.REGION, self._layout.ca, credentials)


@contextmanager
def s3_running(folder: Path) -> Iterator[S3Server]:
    """A server below an empty folder."""
    server = S3Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
