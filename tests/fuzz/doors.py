"""Targets: what a client, a browser or an outside provider sends to a service."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.requests import Request

from access.tokens import TokenRefused, TokenVerifier
from resources.openid import OpenId, OpenIdAway, OpenIdRefused, challenge_of
from services.door.bearer import bearer_of
from services.door.budget import Budget
from services.door.given import filename_of, label_of, uploaded_at_of
from services.door.problems import Problem
from services.signin.app import Credentials
from services.signin.bodies import basic_of, fields_of
from services.signin.page import local_goal
from services.streams.frames import Violation, metadata_of
from services.uploads.labelling import _read
from services.uploads.reading import read_parts
from tests.fuzz import seeds
from tests.fuzz.harness import pieces, refusal, target

LIMIT = 1024
SIGNING = ec.derive_private_key(0x5EED, ec.SECP256R1())
"""A key of these tests alone, the same in each run: a finding is replayed."""


def _request(body: bytes, headers: dict[str, bytes]) -> Request:
    """A request whose body comes in two parts."""
    half = len(body) // 2
    coming = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]

    async def receive() -> dict[str, Any]:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    raw = [(name.encode(), value) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def _ran(asked: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asked)


def _said(label: bytes | str | None, filename: str | None, uploaded_at: str | None) -> None:
    """What an uploader may say of an image, as intake takes it."""
    with refusal(Problem):
        (label_of(label) or "").encode()
    (filename_of(filename) or "").encode()
    with refusal(Problem):
        uploaded_at_of(uploaded_at, seeds.NOON)


@target(seeds.frames)
def stream(data: bytes) -> None:
    """A text frame of the stream. Refused with Violation; what it says of the image, with Problem."""
    with refusal(Violation):
        found = metadata_of(data.decode("utf-8", "replace"), 3)
        assert found.seq > 3
        _said(found.label, found.filename, found.uploaded_at)


@target(seeds.forms)
def upload(data: bytes) -> None:
    """A multipart upload: its Content-Type and Content-Length, and its body. Refused with Problem, as a whole or by
    part; in the end nothing is held of it."""
    kind, length, body = pieces(data, 3)
    budget = Budget(4 * LIMIT)

    async def read() -> None:
        headers = {"content-type": kind} | ({"content-length": length} if length else {})
        async for part in read_parts(_request(body, headers), LIMIT, budget):
            with part.lease:
                assert part.problem is not None or len(part.body) <= LIMIT
                at = part.headers.get(b"x-uploaded-at")
                _said(part.headers.get(b"x-label"), part.filename, None if at is None else at.decode("latin-1"))

    with refusal(Problem):
        _ran(read())
    assert budget.held == 0


@target(seeds.labels)
def label(data: bytes) -> None:
    """The body that puts a label right. Refused with Problem."""
    budget = Budget(64 * LIMIT)
    with refusal(Problem):
        found = _ran(_read(_request(data, {}), SimpleNamespace(budget=budget)))  # type: ignore[arg-type]
        assert found and found.encode()
    assert budget.held == 0


@target(seeds.sign_ins)
def signin(data: bytes) -> None:
    """Signing in: a form, JSON, HTTP Basic, the cookie kept for a provider's answer, and where to go afterwards.
    Refused with Problem; pydantic's ValueError is what the page answers."""
    with refusal(Problem):
        fields = _ran(fields_of(_request(data, {"content-type": b"application/x-www-form-urlencoded"})))
        assert local_goal(fields.get("next")).startswith("/")
        "".join(fields.values()).encode()
    with refusal(ValueError):
        given = Credentials.model_validate_json(data)
        (given.name + given.password).encode()
    text = data.decode("latin-1")
    "".join(basic_of(text) or basic_of(f"Basic {text}") or ()).encode()
    for cookie in (text, seeds.url64(data)):
        kept = challenge_of(cookie)
        if kept is not None:
            (kept.state + kept.nonce + kept.verifier).encode()
            assert local_goal(kept.goal).startswith("/")


def _verifier() -> TokenVerifier:
    public = {**json.loads(ECAlgorithm.to_jwk(SIGNING.public_key())), "kid": seeds.KID}
    # Read while the verifier lives, which is as long as this process.
    place = Path(tempfile.mkdtemp()) / "jwks.json"
    place.write_text(json.dumps({"keys": [public]}))
    return TokenVerifier(place, seeds.ISSUER, seeds.AUDIENCE)


VERIFIER = _verifier()


def signed(header: bytes, claims: bytes) -> str:
    """A token with our signature over any header and any claims."""
    signed = f"{seeds.url64(header)}.{seeds.url64(claims)}"
    algorithm = ECAlgorithm(ECAlgorithm.SHA256)
    return f"{signed}.{seeds.url64(algorithm.sign(signed.encode(), SIGNING))}"


@target(seeds.tokens)
def token(data: bytes) -> None:
    """An Authorization header, and a token with our own signature over any header and claims. Refused with
    TokenRefused."""
    given = bearer_of(data.decode("latin-1"))
    with refusal(TokenRefused):
        if given is not None:
            VERIFIER.judge(given)
            raise AssertionError("a token was taken that nobody signed")
    header, claims = pieces(data, 2)
    for first in (header, seeds.TOKEN_HEADER):
        with refusal(TokenRefused):
            proof = VERIFIER.judge(signed(first, claims))
            "".join((proof.principal.subject, *proof.principal.groups)).encode()
            assert proof.expires.tzinfo is not None


class _Provider(OpenId):
    """A provider that answers with what was given for each of its three addresses."""

    def __init__(self, description: bytes, keys: bytes, told: bytes) -> None:
        super().__init__(seeds.PROVIDER_SETTINGS)  # type: ignore[arg-type]
        self._answers = {"/.well-known/openid-configuration": description, "/keys": keys, "/token": told}

    def _client(self) -> httpx.Client:
        return httpx.Client(
            transport=httpx.MockTransport(lambda asked: httpx.Response(200, content=self._answers.get(asked.url.path)))
        )


@target(seeds.providers)
def provider(data: bytes) -> None:
    """What an OpenID provider answers: its description, keys, and claims under its signature, or a whole answer.
    Refused with OpenIdAway or OpenIdRefused."""
    description, keys, header, claims, told = pieces(data, 5)
    public = json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(SIGNING.public_key())), "kid": seeds.KID}]}).encode()
    answer = told or json.dumps({"id_token": signed(header, claims)}).encode()
    kept = seeds.CHALLENGE
    for known, published in ((seeds.DESCRIPTION, public), (description, public), (seeds.DESCRIPTION, keys)):
        with refusal(OpenIdAway, OpenIdRefused):
            name = _Provider(known, published, answer).finish("https://here.test/back", "code", kept.state, kept)
            assert name and name.encode()
