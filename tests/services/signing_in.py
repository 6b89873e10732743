"""Sign-in with everything outside in memory, and a client that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from access.signer import Signer
from access.tokens import TokenVerifier
from resources.directory import Person
from resources.settings import Settings
from services.signin.app import create_app
from services.signin.limits import Attempts
from services.signin.wiring import Edges, Provider

PASSWORD = "a-password-of-ada's"
JSON = {"name": "ada", "password": PASSWORD}


class PeopleInMemory:
    """A directory of one password for everybody, that can be away."""

    def __init__(self) -> None:
        self.groups: dict[str, tuple[str, ...]] = {"ada": ("sales",), "upload-bot": ("image-uploaders",)}
        self.failure: Exception | None = None
        self.asked = 0

    def sign_in(self, name: str, password: str) -> Person | None:
        found = self.person(name)
        return found if password == PASSWORD else None

    def person(self, name: str) -> Person | None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        groups = self.groups.get(name.casefold())
        return None if groups is None else Person(name.casefold(), f"uid={name}", groups)


class SessionsInMemory:
    """Sessions that can be away."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.failure: Exception | None = None

    def begin(self, subject: str) -> str:
        self.check()
        secret = f"secret-{len(self.held)}-{subject}"
        self.held[secret] = subject
        return secret

    def subject_of(self, secret: str) -> str | None:
        self.check()
        return self.held.get(secret)

    def end(self, secret: str) -> None:
        self.check()
        self.held.pop(secret, None)

    def end_all(self, subject: str) -> int:
        gone = [secret for secret, whose in self.held.items() if whose == subject]
        for secret in gone:
            del self.held[secret]
        return len(gone)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Nothing."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """A service with everything outside in memory, and a client that asks it."""

    def __init__(self, folder: Path, provider: Provider | None = None) -> None:
        self.settings = Settings(home=folder)
        self.people, self.sessions, self.clock = PeopleInMemory(), SessionsInMemory(), Clock()
        at = (self.settings.signer_path, self.settings.jwks_path)
        self.signer = Signer(*at, self.settings.token_issuer, self.settings.token_audience)
        self.signer.initialise()
        self.verifier = TokenVerifier(at[1], self.settings.token_issuer, self.settings.token_audience)
        edges = Edges(self.people, self.sessions, self.signer, provider)
        self.app = create_app(self.settings, edges=lambda settings: edges, attempts=lambda: Attempts(self.clock))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self.app.router.lifespan_context(self.app):
            transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 1))
            async with httpx.AsyncClient(transport=transport, base_url="https://darkroom.test") as client:
                yield client

    def ask(self, *requests: Callable[[httpx.AsyncClient], object]) -> list[httpx.Response]:
        """The answers to requests, one after the other, by one client."""

        async def all_of_them() -> list[httpx.Response]:
            async with self.client() as client:
                return [await request(client) for request in requests]  # type: ignore[misc]

        return asyncio.run(all_of_them())


def sign_in(**changed: str) -> Callable[[httpx.AsyncClient], object]:
    return lambda client: client.post("/v1/session", json={**JSON, **changed})


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
