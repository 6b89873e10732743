"""A real Envoy with what access/ compiles, before instances that say what reached them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from access.gateway import gateway
from access.gateway_edge import Address, Backend, Edge
from access.policy import Policy, parse_policy
from access.signer import Signer
from stack import ca
from stack.gateway import envoy
from stack.paths import Layout
from stack.ports import choose

ISSUER, AUDIENCE = "https://issuer.test", "gateway.test"
POLICY = """
identities: {}
groups:
  writers: {note: write}
  readers: {note: read}
routes:
  - {path: /open, service: signin, methods: [GET, POST], everyone: true, rate: 2, body: form}
  - {path: /things, service: uploads, methods: [POST], groups: [writers], rate: 1000, body: image, repeatable: true}
  - {path: /orders, service: uploads, methods: [POST], groups: [writers], rate: 1000, body: form}
  - {path: "/things/{id}", service: uploads, methods: [GET], groups: [writers, readers], rate: 3}
  - {path: /pages/*, service: uploads, methods: [GET], groups: [readers], rate: 1000}
  - {path: /ui/*, service: uploads, methods: [GET, POST], groups: [writers], rate: 1000, browser: true}
  - {path: /ui/*, service: streams, methods: [GET, POST], groups: [readers], rate: 1000, browser: true}
"""


class Instance:
    """One instance of a service, which lets the gateway in and nobody else, and answers what it was asked."""

    def __init__(self, layout: Layout, service: str, name: str, jwks: Path | None = None) -> None:
        self.name = name
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self._connections: list[socket.socket] = []
        this = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                this._answer(self, jwks)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: what was asked is in `asked`."""

        class Server(ThreadingHTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                this._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that was killed or refused is what these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(layout.hop_ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(layout.certificate(service), layout.key(service))
        # The handshake in the connection's own thread: one who is refused must not hold the others up.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = Address("127.0.0.1", self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler, jwks: Path | None) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        probe = handler.path == "/readyz"
        keys = handler.path == "/.well-known/jwks.json" and jwks is not None
        if not probe and not keys:
            headers = [(key.lower(), value) for key, value in handler.headers.items()]
            self.asked.append({"path": handler.path, "method": handler.command, "headers": headers, "body": len(body)})
        if handler.path.startswith("/v1/authorize"):
            self._authorize(handler)
            return
        said = jwks.read_bytes() if keys and jwks is not None else json.dumps({"instance": self.name}).encode()
        handler.send_response(200 if probe or keys else self.status)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(b"" if handler.command == "HEAD" else said)

    def _authorize(self, handler: BaseHTTPRequestHandler) -> None:
        """As sign-in does it, with the token itself in the cookie."""
        _, _, token = (handler.headers.get("cookie") or "").partition("session=")
        if token or handler.headers.get("authorization"):
            handler.send_response(200)
        else:
            handler.send_response(303 if "text/html" in (handler.headers.get("accept") or "") else 401)
            handler.send_header("Location", "/?next=" + handler.path.removeprefix("/v1/authorize"))
        if token:
            handler.send_header("Authorization", f"Bearer {token}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def close(self) -> None:
        """Be gone; harmless to repeat."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            # As of a killed process: whatever is under way ends without a word.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class House:
    """A gateway, its instances by service and site, and who signs tokens for it."""

    url: str
    ca: Path
    signer: Signer
    log: Path
    sites: Mapping[str, Sequence[Sequence[Instance]]]

    def client(self, **options: Any) -> httpx.Client:
        """A client that trusts it."""
        verify = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.url, verify=verify, timeout=30, trust_env=False, **options)

    def bearer(self, name: str, *groups: str) -> dict[str, str]:
        """The header of somebody in these groups."""
        return {"Authorization": f"Bearer {self.signer.token(name, groups)}"}

    def everything(self) -> list[dict[str, Any]]:
        """What reached any instance, in the order of each."""
        return [asked for sites in self.sites.values() for site in sites for one in site for asked in one.asked]

    def lines(self) -> list[dict[str, Any]]:
        """The access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def house(folder: Path, policy: str | Policy, sites: Mapping[str, Sequence[int]]) -> Iterator[House]:
    """A running gateway for a policy, with so many instances of each service at each site.

    Args:
        policy: YAML, or a policy.
    """
    layout = Layout(folder)
    layout.tls.mkdir(parents=True)
    layout.secrets.mkdir()
    ca.issue(layout, ("gateway", *sites), datetime.now(UTC))
    signer = Signer(layout.secrets / "signer.key", layout.tls / "jwks.json", ISSUER, AUDIENCE)
    signer.initialise()
    keys = layout.tls / "jwks.json"
    made = {
        service: [
            [Instance(layout, service, f"{service}-{site}-{one}", keys) for one in range(count)]
            for site, count in enumerate(counts)
        ]
        for service, counts in sites.items()
    }
    ports, _ = choose(["gateway"], {}, [])
    edge = Edge(
        listen=Address("127.0.0.1", ports["gateway"]),
        certificate=layout.certificate("gateway"),
        key=layout.key("gateway"),
        hop_ca=layout.ca,
        hop_certificate=layout.hop_certificate,
        hop_key=layout.hop_key,
        admin=folder / "admin.sock",
        issuer=ISSUER,
        audience=AUDIENCE,
        repeat_bytes=1024 * 1024,
        backends={
            service: Backend(tuple(tuple(one.address for one in site) for site in of)) for service, of in made.items()
        },
    )
    file, log = folder / "envoy.json", folder / "envoy.log"
    file.write_text(json.dumps(gateway(parse_policy(policy) if isinstance(policy, str) else policy, edge)))
    line = [str(envoy()), "--config-path", str(file), "--disable-hot-restart", "--concurrency", "2"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*line, "--log-level", "error", "--file-flush-interval-msec", "200"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    found = House(f"https://127.0.0.1:{ports['gateway']}", layout.ca, signer, log, made)
    try:
        _wait(found, process, edge.admin)
        yield found
    finally:
        process.kill()
        process.wait(10)
        for of in made.values():
            for one in (one for site in of for one in site):
                one.close()


def _wait(house: House, process: subprocess.Popen[bytes], admin: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin)), base_url="http://envoy") as client:
                stats = {
                    one["name"]: one.get("value", 0)
                    for one in client.get("/stats", params={"format": "json"}).json()["stats"]
                    if "name" in one
                }
            ready = all(stats.get(f"cluster.{name}.membership_healthy") for name in house.sites)
            if ready and any(value for name, value in stats.items() if name.endswith("jwks_fetch_success")):
                return
        except (httpx.HTTPError, OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"Envoy did not become ready:\n{house.log.read_text()[-3000:]}")


def until(true: Any, seconds: float = 15) -> None:
    """Wait until it is so; fails where it does not come to be."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
