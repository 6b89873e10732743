"""What sign-in stands on: the directory, the sessions, the signer, and how often somebody may be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from time import monotonic
from typing import Protocol, TypeVar

from cachetools import TTLCache
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from access.policy import load_policy
from access.signer import Signer
from resources.directory import Directory, Person
from resources.openid import Challenge, OpenId
from resources.sessions import Sessions
from resources.settings import Settings
from services.door.problems import Kind, Problem
from services.signin.limits import Attempts

T = TypeVar("T")

ASKING_THREADS = 16
MOST_WAITING = 64
"""Sign-ins under way at once; a directory that hangs must not take the process's memory."""
TOKEN_REST_SECONDS = 10.0
MOST_TOKENS = 10_000
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class People(Protocol):
    """The edge to the directory (`resources.directory.Directory`)."""

    def sign_in(self, name: str, password: str) -> Person | None:
        """The person, if that is their password; raises DirectoryAway, DirectoryRefused."""
        ...

    def person(self, name: str) -> Person | None:
        """The person as they are now; raises DirectoryAway, DirectoryRefused."""
        ...


class Provider(Protocol):
    """The edge to an outside OpenID provider (`resources.openid.OpenId`)."""

    @property
    def name(self) -> str:
        """Which one, for people."""
        ...

    def begin(self, back: str, goal: str) -> tuple[str, Challenge]:
        """Where to send a browser, and what it keeps; raises OpenIdAway."""
        ...

    def finish(self, back: str, code: str, state: str, kept: Challenge) -> str:
        """The name of who came back; raises OpenIdAway, OpenIdRefused."""
        ...

    def check(self) -> None:
        """Ask whether it answers; raises OpenIdAway."""
        ...


class Held(Protocol):
    """The edge to the sessions (`resources.sessions.Sessions`); every method raises SessionsAway."""

    def begin(self, subject: str) -> str:
        """The secret of a new session."""
        ...

    def subject_of(self, secret: str) -> str | None:
        """Whose it is; None where it has ended."""
        ...

    def end(self, secret: str) -> None:
        """Sign out."""
        ...

    def end_all(self, subject: str) -> int:
        """Sign out everywhere."""
        ...

    def check(self) -> None:
        """Ask whether it answers."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class Edges:
    """Everything outside."""

    people: People
    sessions: Held
    signer: Signer
    provider: Provider | None = None
    """Who proves people in place of the directory's passwords; None for those."""


class Metrics:
    """What is counted, for Prometheus; no name is in any label."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter(
            "darkroom_signin_attempts",
            "Sign-ins by what became of them: signed_in, or the problem's code.",
            ["outcome"],
            registry=self.registry,
        )
        self.directory = Histogram(
            "darkroom_signin_directory_seconds",
            "How long the directory took for one question.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests = Histogram(
            "darkroom_signin_request_seconds",
            "Requests by route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)


class RecentTokens:
    """Tokens of browsers' sessions for `TOKEN_REST_SECONDS`: a page asks for a hundred things at once.

    So long a session that ended, or a group that was left, may still act; of one instance, and by the secret's digest.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._kept: TTLCache[bytes, str] = TTLCache(MOST_TOKENS, TOKEN_REST_SECONDS, clock)

    def get(self, secret: str) -> str | None:
        """The token of a session; None where a new one is due."""
        return self._kept.get(sha256(secret.encode()).digest())

    def put(self, secret: str, token: str) -> None:
        """Keep a session's token."""
        self._kept[sha256(secret.encode()).digest()] = token

    def forget(self, secret: str) -> None:
        """A session that ended here."""
        self._kept.pop(sha256(secret.encode()).digest(), None)


class SignIn:
    """The parts while the service runs."""

    def __init__(self, settings: Settings, edges: Edges, metrics: Metrics, attempts: Attempts) -> None:
        self.settings = settings
        self.edges = edges
        self.metrics = metrics
        self.attempts = attempts
        self.policy = load_policy()
        self.tokens = RecentTokens()
        self.token_life = timedelta(seconds=settings.token_seconds)
        self._asking = ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="asking")
        self._waiting = 0

    async def ask(self, question: Callable[[], T]) -> T:
        """Run something that blocks, off the event loop.

        Raises:
            Problem: BUSY, where too much is under way already.
        """
        if self._waiting >= MOST_WAITING:
            raise Problem(Kind.BUSY, "Many people sign in at this moment. Try again.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._asking, question)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let go of everything."""
        self._asking.shutdown(wait=False, cancel_futures=True)
        self.edges.sessions.close()


def connect(settings: Settings) -> Edges:
    """The real edges; nothing is reached before it is needed.

    Raises:
        DirectoryRefused, OpenIdRefused: no directory is named, or an address cannot be.
    """
    return Edges(
        people=Directory(settings),
        sessions=Sessions(settings.postgres_dsn, settings.session_seconds, settings.session_idle_seconds),
        signer=Signer(settings.signer_path, settings.jwks_path, settings.token_issuer, settings.token_audience),
        provider=OpenId(settings) if settings.openid_issuer else None,
    )
