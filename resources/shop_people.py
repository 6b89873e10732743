"""People of the shop: logins that inherit groups of the policy, and have nothing of their own.

The password goes to the server as its SCRAM verifier, computed here, so that no log can hold it. What a person's
sessions begin with is set by PostgresRoles, in the same call.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from access.policy import Policy
from access.principal import PERSON_NAME, PERSON_NAME_SAID
from resources.failures import PermanentFailure
from resources.postgres_roles import PostgresRoles
from resources.postgres_standing import OWNER
from resources.shop import shop_errors


class LoginRefused(PermanentFailure):
    """The name or a group cannot be."""


def person_name(name: str, policy: Policy) -> str:
    """`name`, if a person may have it.

    Raises:
        LoginRefused: it is no name of a login, or a service, a group or the server has it.
    """
    if PERSON_NAME.fullmatch(name) is None:
        raise LoginRefused(f"{name!r} is no name of a login. Valid: {PERSON_NAME_SAID}.")
    if name in {*policy.identities, *policy.groups, OWNER, "postgres", "public", "none"} or name.startswith("pg_"):
        raise LoginRefused(f"{name!r} is the name of a service, a group or the server. Take another one.")
    return name


def put_person(dsn: str, policy: Policy, name: str, groups: Sequence[str], password: str | None) -> None:
    """Make a login, or put an existing person into these groups and no others.

    Args:
        dsn: libpq connection string of the server's superuser.
        groups: at least one of the policy's.
        password: the new one; None leaves it as it is.

    Raises:
        LoginRefused: no such group, or a name that cannot be.
        ShopRefused, ShopUnavailable: PostgreSQL refused, or is away; nothing was changed.
    """
    person_name(name, policy)
    unknown = sorted(set(groups) - set(policy.database_groups))
    if unknown or not groups:
        named, valid = ", ".join(unknown) or "nothing", ", ".join(sorted(policy.database_groups))
        raise LoginRefused(f"{named} is no group with rights in the shop. Valid ones: {valid}.")
    with shop_errors(f"Making the login {name}"), psycopg.connect(dsn) as connection:
        settle_login(connection, policy, name, groups, password)
    PostgresRoles(dsn, policy).apply()


def settle_login(
    connection: psycopg.Connection, policy: Policy, name: str, groups: Sequence[str], password: str | None
) -> None:
    """Have a login in exactly these groups, in the caller's transaction; see `put_person`."""
    who = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(who))
    if password is not None:
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(who, sql.Literal(verifier)))
    for group in policy.database_groups:
        if group in groups:
            # Not by SET ROLE: what a person does is done under their own name.
            grant = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE, ADMIN FALSE")
        else:
            grant = sql.SQL("REVOKE {} FROM {}")
        connection.execute(grant.format(sql.Identifier(group), who))


def remove_person(dsn: str, policy: Policy, name: str) -> bool:
    """Remove a login and end its sessions. Returns whether there was one.

    Raises:
        LoginRefused: it is nobody's but the platform's.
        ShopRefused: it owns something; says what.
    """
    person_name(name, policy)
    # A login with rights of its own could not be dropped; the policy gives a person none.
    PostgresRoles(dsn, policy).apply()
    with shop_errors(f"Removing the login {name}"), psycopg.connect(dsn) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
            return False
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    return True
