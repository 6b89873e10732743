"""Listens to what models name one uploader's images (`/v1/results`), in a thread beside whatever is done meanwhile.

The connection is made anew when it breaks, with a new token where the old one has expired; what comes while there is
none is not repeated, so that whoever waits for an answer sets a limit.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cli.ways import raise_if_untrusted
from resources.failures import PermanentFailure, PlatformFailure

OPEN_SECONDS = 10.0
RETRY_SECONDS = 0.5
_REFUSED_FOR_GOOD = (401, 403, 404)


class ResultsRefused(PermanentFailure):
    """The door does not take this listener."""


@dataclass(frozen=True)
class NamedImage:
    """One answer, and when it was here (`time.monotonic`)."""

    id: str
    model: str
    model_version: str
    label: str
    probability: float
    at: float


class Listening:
    """A context manager: within it, `found` is called with each answer, in a thread of its own.

    Args:
        url: of `/v1/results`.
        trust: verifies the door's certificate.
        token: makes a token; called with whether the last one was refused.
        found: takes an answer.
        missed: takes how many answers were given up because this listener was too slow.
    """

    def __init__(
        self,
        url: str,
        trust: ssl.SSLContext | None,
        token: Callable[[bool], str],
        found: Callable[[NamedImage], None],
        missed: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._url = url
        self._trust = trust
        self._token = token
        self._found = found
        self._missed = missed
        self._stop = threading.Event()
        self._open = threading.Event()
        self._failure: PlatformFailure | None = None
        self._connection: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)

    def __enter__(self) -> Listening:
        """Begin; returns once the door has accepted.

        Raises:
            ResultsRefused, DoorUntrusted: it does not.
        """
        self._thread.start()
        deadline = time.monotonic() + 3 * OPEN_SECONDS
        while not self._open.wait(0.05):
            self.check()
            if time.monotonic() > deadline:
                self.__exit__()
                raise ResultsRefused(f"{self._url} did not accept within {3 * OPEN_SECONDS:g} s. `darkroom status`?")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        if self._connection is not None:
            self._connection.close_socket()
        self._thread.join(OPEN_SECONDS)

    def check(self) -> None:
        """Raise what ended the listening for good, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._listen()
        except PlatformFailure as failure:
            self._failure = failure
        except BaseException as error:
            # Whoever waits in another thread must hear of it, whatever it was: also a pipe that closed.
            self._failure = ResultsRefused(f"Listening to {self._url} ended: {type(error).__name__}: {error}")

    def _listen(self) -> None:
        refused = False
        while not self._stop.is_set():
            token = self._token(refused)
            try:
                with connect(
                    self._url,
                    ssl=self._trust,
                    additional_headers={"Authorization": f"Bearer {token}"},
                    compression=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=1,
                    proxy=None,
                ) as self._connection:
                    refused = False
                    self._open.set()
                    for frame in self._frames(self._connection):
                        self._take(frame)
            except InvalidStatus as error:
                status = error.response.status_code
                if status in _REFUSED_FOR_GOOD and (refused or status != 401):
                    raise ResultsRefused(
                        f"{self._url} answered {status} to the handshake; `darkroom up` brings its release up to date."
                    ) from error
                refused = status == 401
            except (InvalidHandshake, OSError, TimeoutError) as error:
                raise_if_untrusted(self._url, error)
            self._stop.wait(RETRY_SECONDS)

    @staticmethod
    def _frames(connection: ClientConnection) -> Iterator[str | bytes]:
        """The frames until the connection ends, well or not."""
        try:
            yield from connection
        except (ConnectionClosed, OSError):
            return

    def _take(self, frame: str | bytes) -> None:
        said: Any = json.loads(frame)
        if "missed" in said:
            self._missed(int(said["missed"]))
        elif "problem" not in said:
            answer = {name: said[name] for name in ("id", "model", "model_version", "label", "probability")}
            self._found(NamedImage(**answer, at=time.monotonic()))


def results_url(stream_url: str) -> str:
    """Where answers are heard, beside where images are streamed to."""
    return f"{stream_url.rsplit('/', 1)[0]}/results"
