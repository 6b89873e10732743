"""The platform's PostgreSQL: its migrations, and the projection that answers "where is my image".

`image_status` is shared by every instance of the doors and by developing. Nobody coordinates these writers: an upsert
moves a state forward only (accepted < landed < quarantined < processed), so late, doubled and reordered writes give the
same row. `processed` stands above `quarantined` because a replay may rescue a quarantined image.

Limits: it is a projection. It may lag or miss rows after a crash, and is filled again from the lake; nothing that
must be exact may be read from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg_pool import PoolTimeout

from resources.failures import PermanentFailure, TransientFailure
from resources.postgres_pool import WatchedPool

STATES: tuple[str, ...] = ("accepted", "landed", "quarantined", "processed")
"""States of an image, in the order in which they may follow each other."""

SCHEMAS: tuple[str, ...] = ("images", "shop", "signin")
"""Schemas with a chain of migrations under resources/migrations."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x4441524B  # any constant will do; all upgrades of one database wait for each other on it

_PUT = """
INSERT INTO images.image_status AS present (id, day, pseudonym, state, reason, updated_at)
SELECT id, day, pseudonym, state, reason, clock_timestamp()
FROM unnest(%(ids)s::text[], %(days)s::date[], %(pseudonyms)s::text[], %(states)s::text[], %(reasons)s::text[])
    AS given (id, day, pseudonym, state, reason)
ON CONFLICT (id) DO UPDATE
SET state = excluded.state, reason = excluded.reason, updated_at = excluded.updated_at
WHERE array_position(%(order)s::text[], excluded.state) > array_position(%(order)s::text[], present.state)
   OR (excluded.state = present.state AND excluded.reason IS DISTINCT FROM present.reason)
"""
_LANDED = """
WITH mine AS (
    SELECT id FROM images.image_status WHERE id = ANY(%s::text[]) AND state = 'accepted' ORDER BY id FOR UPDATE
)
UPDATE images.image_status AS present SET state = 'landed', updated_at = clock_timestamp()
FROM mine WHERE present.id = mine.id
"""  # locked in one order, as in _PUT, so that writers at once cannot wait for each other in a ring
_FORGET = """
DELETE FROM images.image_status
WHERE day <= %(last)s AND day <> ALL(%(kept)s::date[])
  AND ((day, pseudonym) IN (SELECT * FROM unnest(%(days)s::date[], %(pseudonyms)s::text[]))) IS NOT TRUE
"""
_ERASE = """
DELETE FROM images.image_status
WHERE id = ANY(%(ids)s::text[])
   OR (day, pseudonym) IN (SELECT * FROM unnest(%(days)s::date[], %(pseudonyms)s::text[]))
"""
_GET = "SELECT id, day, pseudonym, state, reason, updated_at FROM images.image_status WHERE id = %s"


class StatusUnavailable(TransientFailure):
    """PostgreSQL did not answer. Transient: images are still taken, and the state is filled in by a later write."""


class MigrationFailed(PermanentFailure):
    """A chain of migrations could not be run; the message says which, where, and what came back."""


@dataclass(frozen=True)
class StatusRow:
    """One image's state.

    `reason` is a reason code when `state` is quarantined, else None; `updated_at` is set on reading.
    """

    id: str
    day: date
    pseudonym: str
    state: str
    reason: str | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"State {self.state!r} of image {self.id} is unknown. Valid ones: {', '.join(STATES)}.")
        if (self.reason is not None) != (self.state == "quarantined"):
            raise ValueError(
                f"Image {self.id} has state {self.state} and reason {self.reason!r}: "
                "a quarantined image has a reason, no other has."
            )


class ImageStatus:
    """Repository of `images.image_status`. Thread-safe; connects at first use; survives a restart of PostgreSQL.

    Args:
        dsn: libpq connection string of the platform's database.
        timeout_seconds: longest wait for a connection, and for one statement; a server that hangs costs twice that.
        connections: most connections at a time.
    """

    def __init__(self, dsn: str, *, timeout_seconds: float = 5.0, connections: int = 4) -> None:
        self._dsn = dsn
        self._pool = WatchedPool(dsn, timeout_seconds, connections, "darkroom")

    def put_many(self, rows: Sequence[StatusRow]) -> None:
        """Write states in one statement; a state that is not ahead of the stored one changes nothing.

        Raises:
            StatusUnavailable: PostgreSQL is away or refused; nothing of this call is written.
        """
        ahead = furthest(rows)
        if not ahead:
            return
        parameters = {
            "ids": [row.id for row in ahead],
            "days": [row.day for row in ahead],
            "pseudonyms": [row.pseudonym for row in ahead],
            "states": [row.state for row in ahead],
            "reasons": [row.reason for row in ahead],
            "order": list(STATES),
        }
        try:
            with self._pool.connected() as connection:
                connection.execute(_PUT, parameters)
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence(f"writing {len(ahead)} image states", error)) from error

    def mark_landed(self, ids: Sequence[str]) -> int:
        """Move accepted images on to landed; makes no row, for a record's key alone does not say whose image it is.

        Returns:
            How many moved.

        Raises:
            StatusUnavailable: PostgreSQL is away or refused; nothing of this call is written.
        """
        if not ids:
            return 0
        try:
            with self._pool.connected() as connection:
                return connection.execute(_LANDED, (list(ids),)).rowcount
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence(f"marking {len(ids)} images as landed", error)) from error

    def get(self, id: str) -> StatusRow | None:
        """The state of one image, or None where there is no row.

        Raises:
            StatusUnavailable: PostgreSQL is away or refused.
        """
        try:
            with self._pool.connected() as connection:
                found = connection.execute(_GET, (id,)).fetchone()
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence("reading an image's state", error)) from error
        return None if found is None else StatusRow(*found)

    def forget(self, last: date, kept: Sequence[date], people: Sequence[tuple[date, str]] = ()) -> int:
        """Remove the states of every day up to `last`, but of those `kept`, and of people by day and pseudonym; returns
        how many.

        Raises:
            StatusUnavailable: PostgreSQL is away or refused; nothing of this call is removed.
        """
        given = {"last": last, "kept": list(kept)}
        given |= {"days": [day for day, _ in people], "pseudonyms": [whose for _, whose in people]}
        try:
            with self._pool.connected() as connection:
                return connection.execute(_FORGET, given).rowcount
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence(f"removing states of days up to {last}", error)) from error

    def erase(self, ids: Sequence[str], people: Sequence[tuple[date, str]]) -> int:
        """Remove the states of images by id, and of all that people sent on a day under its pseudonym; returns how
        many.

        Raises:
            StatusUnavailable: PostgreSQL is away or refused; nothing of this call is removed.
        """
        given = {"ids": list(ids), "days": [day for day, _ in people], "pseudonyms": [whose for _, whose in people]}
        try:
            with self._pool.connected() as connection:
                return connection.execute(_ERASE, given).rowcount
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence("removing states of what was erased", error)) from error

    def clock(self) -> datetime:
        """What time the server has, with a zone. Raises StatusUnavailable."""
        try:
            with self._pool.connected() as connection:
                ((found,),) = connection.execute("SELECT clock_timestamp()").fetchall()
        except (psycopg.Error, PoolTimeout) as error:
            raise StatusUnavailable(self._sentence("asking for the time", error)) from error
        return found

    def close(self) -> None:
        """Close every connection; the repository cannot be used afterwards."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sentence(self, tried: str, error: Exception) -> str:
        return (
            f"{tried} in PostgreSQL ({_address(self._dsn)}) failed: {_first_line(error)}. "
            "Is it running, and does postgres_dsn name it and this process's role?"
        )


def furthest(rows: Iterable[StatusRow]) -> list[StatusRow]:
    """One row an image, the furthest state of each, ordered by id so that concurrent writers cannot deadlock."""
    best: dict[str, StatusRow] = {}
    for row in rows:
        present = best.get(row.id)
        if present is None or STATES.index(row.state) >= STATES.index(present.state):
            best[row.id] = row
    return [best[id] for id in sorted(best)]


def upgrade(dsn: str, schemas: Sequence[str] = SCHEMAS) -> None:
    """Bring the schemas of this release to their newest migration. Rights are the policy's matter, not the migrations'.

    Idempotent and safe to run twice at once: upgrades of one database wait for each other. One transaction a schema.

    Args:
        dsn: libpq connection string of a role that may create schemas (the stack's superuser).
        schemas: which chains to run.

    Raises:
        MigrationFailed: an unknown schema, no connection, or a statement that PostgreSQL refused.
    """
    # Here, not above: alembic and SQLAlchemy cost 0.5 s, and only `up` needs them.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    for schema in schemas:
        if schema not in SCHEMAS:
            raise MigrationFailed(
                f"There is no chain of migrations for schema {schema!r}. Valid ones: {', '.join(SCHEMAS)}."
            )
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    for schema in schemas:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", str(_MIGRATIONS / schema))
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
                config.attributes.update(connection=connection, schema=schema)
                command.upgrade(config, "head")
        except (SQLAlchemyError, psycopg.Error) as error:
            raise MigrationFailed(
                f"Upgrading schema {schema} in PostgreSQL ({_address(dsn)}) failed: {_first_line(error)}. "
                "Nothing was changed."
            ) from error


def _address(dsn: str) -> str:
    """Where a connection string points, without anything secret."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        return "unreadable connection string"
    return (
        ", ".join(f"{name} {parts[name]}" for name in ("host", "port", "dbname", "user") if parts.get(name))
        or "no address"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
