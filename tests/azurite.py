"""Azure's blob storage as a local server: Azurite, Microsoft's own, which conditional puts are real in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from stack.ports import choose

SERVER = Path(__file__).parents[1] / ".venv/azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT = "devstoreaccount1"
# The one key that Azurite has, by its documentation.
# pragma: allowlist nextline secret
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "darkroom"


@contextmanager
def azurite() -> Iterator[str]:
    """A running server with an empty container; gives its URL. The process's environment leads there meanwhile."""
    ports, _ = choose(("azurite",), {}, set())
    url = f"http://127.0.0.1:{ports['azurite']}"
    with tempfile.TemporaryDirectory(prefix="darkroom-azurite-") as folder, pytest.MonkeyPatch.context() as patch:
        place = ("--blobHost", "127.0.0.1", "--blobPort", str(ports["azurite"]), "--location", folder)
        quiet = ("--silent", "--skipApiVersionCheck", "--disableTelemetry")
        log = (Path(folder) / "log").open("wb")
        process = subprocess.Popen(["node", str(SERVER), *place, *quiet], stdout=log, stderr=log)
        try:
            _make_container(url, process)
            patch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
            patch.setenv("AZURITE_BLOB_STORAGE_URL", url)
            yield url
        finally:
            process.terminate()
            process.wait(20)
            log.close()


def _make_container(url: str, process: subprocess.Popen[bytes]) -> None:
    """Ask for the container until the server answers, signed as Azure's Shared Key asks for it."""
    path = f"/{ACCOUNT}/{CONTAINER}"
    deadline = time.monotonic() + 60
    while True:
        when = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}"
        headers = {"x-ms-date": when, "x-ms-version": "2021-08-06"}
        # The verb, eleven headers that are not sent, our headers, and the resource with its question.
        lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
        text = "\n".join([*lines, f"/{ACCOUNT}{path}", "restype:container"])
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        try:
            answer = httpx.put(
                f"{url}{path}?restype=container",
                headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"},
                trust_env=False,
            )
        except httpx.HTTPError:
            assert process.poll() is None and time.monotonic() < deadline, "Azurite did not start"
            time.sleep(0.2)
            continue
        assert answer.status_code == 201, answer.text
        return
