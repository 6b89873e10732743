"""Between a client and the S3 server: an HTTPS relay that loses answers, cuts them short or refuses, as told.

A request is passed on as it is, with the host that the client signed for, so that the server's check of signatures
holds. Rules are asked in order; the first that fits decides, as often as it says.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from benchmarks._s3 import S3Server
from resources.lake import Lake

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
Fault = Literal["slow down", "answer lost", "connection cut", "body cut short", "denied"]
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No.</Message></Error>"


@dataclass
class Rule:
    """What becomes of the next `times` requests of a method whose path fits."""

    method: str
    path: str
    fault: Fault
    times: int
    met: int = 0


class Relay:
    """The relay, and what it was told."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self.rules: list[Rule] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*server.certificate)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def lake(self, behind: Lake) -> Lake:
        """The same lake, through this relay."""
        endpoint = f"https://127.0.0.1:{self._http.server_address[1]}"
        return Lake(behind.root, replace(behind.storage, endpoint=endpoint))

    def after(self, method: str, path: str, fault: Fault, times: int = 1) -> Rule:
        """From now on the next `times` such requests end so; `path` is searched as a regular expression."""
        rule = Rule(method, path, fault, times)
        self.rules.append(rule)
        return rule

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for rule in self.rules:
                if rule.met < rule.times and rule.method == method and re.search(rule.path, path):
                    rule.met += 1
                    return rule.fault
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = relay._fault(self.command, self.path)
                if fault in ("slow down", "denied"):
                    self._answer(503 if fault == "slow down" else 403, SLOW_DOWN if fault == "slow down" else DENIED)
                    return
                status, headers, answer = relay._forward(self.command, self.path, dict(self.headers), body)
                if fault == "answer lost":
                    self._answer(503, SLOW_DOWN)
                elif fault == "connection cut":
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._answer(status, answer, headers, cut=fault == "body cut short")

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay

            def _answer(
                self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None, cut: bool = False
            ) -> None:
                self.send_response(status)
                length = str(len(body))
                for name, value in headers or []:
                    if name.lower() == "content-length":
                        length = value
                    elif name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if cut else body)
                if cut:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                return

        return Handler

    def _forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        trust = ssl.create_default_context(cafile=str(self._server.storage.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self._server.port, context=trust, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


@contextmanager
def relay_to(server: S3Server) -> Iterator[Relay]:
    """A relay in front of the server."""
    relay = Relay(server)
    try:
        yield relay
    finally:
        relay.close()
