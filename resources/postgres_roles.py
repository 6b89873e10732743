"""PostgreSQL's roles and rights put to what the policy says: plan, apply, drift.

`plan` compares what stands in the database (postgres_standing) with what the policy compiles to, and says each
difference as a sentence and a statement (postgres_differences); a second plan is empty. It reads catalogs only, which
any role may. `apply` runs a plan in one transaction and needs the superuser, as whom `darkroom up` applies it. What
stands there and the policy does not say is revoked, and is drift until then.

Who is in a group is not the policy's matter: a person is a login that is a member of one, and gets its session settings
here. What a person may not have beside that (rights of their own, other memberships, powers) is.

Limits: roles and memberships belong to the whole server, so that plans of two of its databases agree on those only if
their policies do. A trigger that was dropped, and not merely switched off, is not seen.
"""

from __future__ import annotations

import psycopg

from access.policy import Policy
from access.postgres_grants import schemas
from resources.failures import PermanentFailure, TransientFailure
from resources.postgres_differences import Change, differences
from resources.postgres_standing import Standing, read_standing

# Any constant will do: plans of one server are applied one after the other.
_LOCK = 0x524F4C45


class RightsUnavailable(TransientFailure):
    """PostgreSQL did not answer. Transient: nothing was changed."""


class RightsRefused(PermanentFailure):
    """PostgreSQL refused to change roles or rights, or they did not become the policy's; nothing was changed."""


class PostgresRoles:
    """The roles and rights of one database.

    Args:
        dsn: libpq connection string; any role may plan, a superuser may apply.
        policy: what should be.
    """

    def __init__(self, dsn: str, policy: Policy) -> None:
        self._dsn = dsn
        self._policy = policy

    def standing(self) -> Standing:
        """What stands in the database.

        Raises:
            RightsUnavailable: PostgreSQL is away.
        """
        with _told("reading roles and rights"), psycopg.connect(self._dsn) as connection:
            return read_standing(connection, schemas(self._policy))

    def plan(self) -> tuple[Change, ...]:
        """What apply would do; empty when all is as the policy says.

        Raises:
            RightsUnavailable: PostgreSQL is away.
        """
        return tuple(differences(self._policy, self.standing()))

    def drift(self) -> tuple[str, ...]:
        """Every difference as a sentence.

        Raises:
            RightsUnavailable: PostgreSQL is away.
        """
        return tuple(change.sentence for change in self.plan())

    def apply(self) -> tuple[Change, ...]:
        """Put roles and rights to what the policy says, all or nothing. Returns what was done.

        Raises:
            RightsUnavailable: PostgreSQL is away.
            RightsRefused: this login may not, or something would still differ after.
        """
        looked_at = schemas(self._policy)
        with _told("applying roles and rights"), psycopg.connect(self._dsn) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            done: list[Change] = []
            # Who is a person, and so what is set for them, may change with what the first round revokes.
            for _ in range(2):
                changes = tuple(differences(self._policy, read_standing(connection, looked_at)))
                for change in changes:
                    connection.execute(change.statement)
                done += changes
            left = tuple(differences(self._policy, read_standing(connection, looked_at)))
            if left:
                raise RightsRefused(
                    "Applying the policy to PostgreSQL left differences, and was taken back whole: "
                    + "; ".join(change.sentence for change in left)
                    + ". Is this login not the server's superuser, as whom `darkroom up` applies? Or did another "
                    "role grant it?"
                )
        return tuple(done)


class _told:
    """Turns PostgreSQL's errors into ours."""

    def __init__(self, tried: str) -> None:
        self._tried = tried

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise RightsRefused(
                f"{self._tried} in PostgreSQL was refused: {error.diag.message_primary}. Nothing was changed. "
                "`darkroom up` applies the policy, as the server's superuser."
            ) from error
        if isinstance(error, psycopg.OperationalError):
            raise RightsUnavailable(
                f"{self._tried} in PostgreSQL failed: {str(error).strip().splitlines()[0]}. Is it running?"
            ) from error
        if isinstance(error, psycopg.Error):
            raise RightsRefused(f"{self._tried} in PostgreSQL failed: {error}. Nothing was changed.") from error
