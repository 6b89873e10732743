"""Who is signed in: sessions in PostgreSQL, shared by every instance of sign-in.

A session is a secret of 32 random bytes that its holder keeps, and a row with the secret's SHA-256: who reads the
table can be nobody. It ends when it is signed out, when it was not used for the idle time, or at its end; a row that
has ended is removed at the next sign-in of anybody. PostgreSQL away means that nobody is signed in: it is said, never
guessed.

Limits: times are the database's, so that instances with different clocks agree.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolTimeout

from resources.failures import TransientFailure
from resources.postgres_pool import WatchedPool

SECRET_BYTES = 32
LONGEST_SECRET = 128
CONNECTIONS = 8

_BEGIN = """
WITH swept AS (DELETE FROM signin.sessions WHERE ends_at < now() OR seen_at < now() - %(idle)s * interval '1 second')
INSERT INTO signin.sessions (secret_sha256, subject, begun_at, seen_at, ends_at)
VALUES (%(hash)s, %(subject)s, now(), now(), now() + %(seconds)s * interval '1 second')
"""
_SEEN = """
UPDATE signin.sessions SET seen_at = greatest(seen_at, now())
WHERE secret_sha256 = %(hash)s AND ends_at > now() AND seen_at > now() - %(idle)s * interval '1 second'
RETURNING subject
"""


class SessionsAway(TransientFailure):
    """PostgreSQL did not answer: nobody can be signed in, or out."""


class Sessions:
    """The sessions of one platform. Safe for threads; connects at first use; survives a restart of PostgreSQL.

    Args:
        dsn: libpq connection string of the identity `signin`.
        seconds: how long a session lives at most.
        idle_seconds: how long one lives that is not used.

    Raises (every method): SessionsAway.
    """

    def __init__(self, dsn: str, seconds: float, idle_seconds: float, *, timeout_seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._idle = idle_seconds
        self._pool = WatchedPool(dsn, timeout_seconds, CONNECTIONS, "darkroom-signin")

    def begin(self, subject: str) -> str:
        """A new session of somebody who proved to be that; returns its secret, which is kept nowhere here."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        values = {"hash": _hash(secret), "subject": subject, "seconds": self._seconds, "idle": self._idle}
        with self._connected() as connection:
            connection.execute(_BEGIN, values)
        return secret

    def subject_of(self, secret: str) -> str | None:
        """Whose session it is, which lives on by the question; None where it has ended, or there never was one."""
        if not secret or len(secret) > LONGEST_SECRET:
            return None
        with self._connected() as connection:
            row = connection.execute(_SEEN, {"hash": _hash(secret), "idle": self._idle}).fetchone()
        return row[0] if row is not None else None

    def end(self, secret: str) -> None:
        """Sign out; harmless where there is no such session."""
        with self._connected() as connection:
            connection.execute("DELETE FROM signin.sessions WHERE secret_sha256 = %s", [_hash(secret)])

    def end_all(self, subject: str) -> int:
        """Sign somebody out everywhere; returns how many sessions that were."""
        with self._connected() as connection:
            return connection.execute("DELETE FROM signin.sessions WHERE subject = %s", [subject]).rowcount

    def check(self) -> None:
        """Ask once whether PostgreSQL answers."""
        with self._connected() as connection:
            connection.execute("SELECT FROM signin.sessions LIMIT 1")

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        try:
            with self._pool.connected() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout) as error:
            said = str(error).strip().split("\n", 1)[0]
            raise SessionsAway(
                f"PostgreSQL did not answer about sessions: {said}. Nobody can sign in or out."
            ) from None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
