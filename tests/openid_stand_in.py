"""An OpenID provider that stands in for a company's: the protocol over TLS, people who need no password, and faults."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from stack import ca
from stack.paths import Layout

CLIENT, SECRET = "darkroom-here", "a secret of the client's"


class ProviderStandIn:
    """A provider with one signing key. What it says can be bent:

    Attributes:
        claims: laid over the ID token's; None takes one away.
        signing: makes the ID token of its claims; by default RS256 with the published key.
        description: laid over its own description.
        keys: published in place of its own.
        away: answers nothing but 500.
    """

    def __init__(self, layout: Layout) -> None:
        self.person = "ada"
        self.claims: dict[str, Any] = {}
        self.description: dict[str, Any] = {}
        self.keys: list[Any] | None = None
        self.away = False
        self.signing: Callable[[dict[str, Any]], str] = self.sign
        self.used: list[dict[str, str]] = []
        self.rotate()
        self._codes: dict[str, dict[str, str]] = {}
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                this._get(self)

            def do_POST(self) -> None:
                this._post(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(layout.certificate("gateway"), layout.key("gateway"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"https://127.0.0.1:{self._server.server_address[1]}/realm"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def rotate(self) -> None:
        """Another signing key, under another id."""
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = secrets.token_hex(4)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token by the published key."""
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.kid})

    def close(self) -> None:
        """Be gone."""
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        at = urlsplit(handler.path)
        if self.away:
            _answer(handler, 500, {})
        elif at.path == "/realm/.well-known/openid-configuration":
            places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            told = {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in places.items()}}
            _answer(handler, 200, {**told, **self.description})
        elif at.path == "/realm/keys":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            own = [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]
            _answer(handler, 200, {"keys": own if self.keys is None else self.keys})
        elif at.path == "/realm/authorize":
            asked = {name: values[0] for name, values in parse_qs(at.query).items()}
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            back = {"code": code, "state": asked["state"]}
            handler.send_response(302)
            handler.send_header("Location", f"{asked['redirect_uri']}?{urlencode(back)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            _answer(handler, 404, {})

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"])).decode()
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        self.used.append(sent)
        asked = self._codes.pop(sent.get("code", ""), None)
        basic = base64.b64decode((handler.headers.get("authorization") or "Basic ").removeprefix("Basic ")).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        if self.away:
            _answer(handler, 500, {})
        elif basic != f"{CLIENT}:{SECRET}":
            _answer(handler, 401, {"error": "invalid_client"})
        elif (
            asked is None
            or asked["redirect_uri"] != sent.get("redirect_uri")
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != challenge.decode().rstrip("=")
        ):
            _answer(handler, 400, {"error": "invalid_grant"})
        else:
            now = datetime.now(UTC)
            claims = {
                "iss": self.issuer,
                "aud": asked["client_id"],
                "sub": "a-number",
                "preferred_username": self.person,
                "nonce": asked["nonce"],
                "iat": now,
                "exp": now + timedelta(minutes=5),
                **self.claims,
            }
            kept = {name: value for name, value in claims.items() if value is not None}
            _answer(handler, 200, {"token_type": "Bearer", "access_token": "x", "id_token": self.signing(kept)})


@contextmanager
def provider(folder: Path) -> Iterator[tuple[ProviderStandIn, dict[str, Any]]]:
    """A running provider, and the settings by which sign-in knows it."""
    layout = Layout(folder)
    layout.tls.mkdir(parents=True)
    layout.secrets.mkdir()
    ca.issue(layout, ("gateway",), datetime.now(UTC))
    secret = layout.secrets / "client"
    secret.write_text(f"{SECRET}\n")
    standing = ProviderStandIn(layout)
    try:
        yield (
            standing,
            {
                "openid_issuer": standing.issuer,
                "openid_client_id": CLIENT,
                "openid_credentials": secret,
                "openid_ca": layout.ca,
            },
        )
    finally:
        standing.close()


def _answer(handler: BaseHTTPRequestHandler, status: int, document: dict[str, Any]) -> None:
    said = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(said)))
    handler.end_headers()
    handler.wfile.write(said)
