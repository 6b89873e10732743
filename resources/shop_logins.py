"""Logins of PostgreSQL as the directory has people: joiners, movers and leavers of the groups with rights there.

Which group somebody is in is the directory's matter, what a group may is the policy's (`resources.postgres_roles`), and
this is what is between. A login that was made here is marked by its comment; one that `darkroom shop person` made, for
somebody of no directory, is let be, and is taken over once the directory has that name.

One transaction gives and takes everybody's rights, and lets no leaver log in any more; then the sessions of those
who lost something end; and then a leaver's login goes, with what they own to the shop's owner. Stopped in between,
the next plan has the rest; a plan after the last step is empty. Nothing is concluded from a directory that did not
answer to the end: that is an error, and nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from access.policy import Policy
from access.postgres_grants import schemas
from resources.directory import Person
from resources.postgres_differences import person_sessions
from resources.postgres_standing import OWNER, read_standing
from resources.shop import shop_errors
from resources.shop_people import LoginRefused, person_name, settle_login

MARK = "darkroom: of the directory"
_LOCK = 0x4C4F4749
_MARKED = "SELECT rolname FROM pg_roles r WHERE shobj_description(r.oid, 'pg_authid') = %s"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


@dataclass(frozen=True)
class LoginChange:
    """One difference: `name` has the groups `had` and is to have `groups`, of which none means no login."""

    name: str
    had: tuple[str, ...]
    groups: tuple[str, ...]
    new: bool

    @property
    def sentence(self) -> str:
        """What would be done, for people."""
        if self.new:
            return f"{self.name} becomes a login in {', '.join(self.groups)}"
        if not self.groups:
            return f"{self.name} is in no group any more: the login ends, with its sessions"
        lost = sorted(set(self.had) - set(self.groups))
        gained = sorted(set(self.groups) - set(self.had))
        parts = [f"leaves {', '.join(lost)}, and its sessions end"] if lost else []
        parts += [f"joins {', '.join(gained)}"] if gained else []
        return f"{self.name} " + (" and ".join(parts) or "is taken over: the login is the directory's from now on")


@dataclass(frozen=True)
class LoginPlan:
    """What differs, and whose name can be no login, as sentences."""

    changes: tuple[LoginChange, ...]
    refused: tuple[str, ...]


def wanted_logins(policy: Policy, people: Iterable[Person]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The database groups of everybody who is in one, by name; and why somebody cannot have a login."""
    wanted: dict[str, tuple[str, ...]] = {}
    refused = []
    for person in people:
        groups = tuple(sorted(set(person.groups) & set(policy.database_groups)))
        if not groups:
            continue
        try:
            wanted[person_name(person.name, policy)] = groups
        except LoginRefused as error:
            refused.append(str(error))
    return wanted, tuple(sorted(refused))


def plan_logins(dsn: str, policy: Policy, people: Iterable[Person]) -> LoginPlan:
    """What `apply_logins` would do; empty when every login is as the directory says.

    Args:
        dsn: libpq connection string; any role may plan.
        people: everybody of the directory, to the end.

    Raises:
        ShopUnavailable: PostgreSQL is away.
    """
    wanted, refused = wanted_logins(policy, people)
    with shop_errors("Comparing logins with the directory"), psycopg.connect(dsn) as connection:
        return LoginPlan(tuple(_changes(connection, policy, wanted)), refused)


def apply_logins(
    dsn: str, policy: Policy, people: Iterable[Person], passwords: Mapping[str, str] | None = None
) -> LoginPlan:
    """Make logins what the directory says. Returns what was done.

    Args:
        dsn: libpq connection string of the server's superuser.
        passwords: of new logins, by name; without one a login is there and cannot be used yet.

    Raises:
        ShopRefused, ShopUnavailable: PostgreSQL refused, or is away; what was not done is in the next plan.
    """
    wanted, refused = wanted_logins(policy, people)
    with shop_errors("Making logins what the directory says"), psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        changes = tuple(_changes(connection, policy, wanted))
        for change in changes:
            _give_and_take(connection, policy, change, (passwords or {}).get(change.name))
        # What a session begins with goes with the groups.
        standing = read_standing(connection, schemas(policy))
        for change in changes:
            if change.groups:
                for setting in person_sessions(policy, standing, change.name):
                    connection.execute(setting.statement)
        connection.commit()
        for change in changes:
            if set(change.had) - set(change.groups) or not change.groups:
                connection.execute(_END, (change.name,))
        connection.commit()
        for change in changes:
            if not change.groups:
                _remove(connection, change.name)
    return LoginPlan(changes, refused)


def _changes(
    connection: psycopg.Connection, policy: Policy, wanted: Mapping[str, tuple[str, ...]]
) -> Iterator[LoginChange]:
    standing = read_standing(connection, schemas(policy))
    held = standing.people(list(policy.database_groups), list(policy.identities))
    marked = {name for (name,) in connection.execute(_MARKED, (MARK,))}
    for name, groups in sorted(wanted.items()):
        had = tuple(held.get(name, ()))
        if had != groups or name not in marked:
            yield LoginChange(name, had, groups, new=name not in standing.roles)
    for name in sorted(marked - wanted.keys()):
        yield LoginChange(name, tuple(held.get(name, ())), (), new=False)


def _give_and_take(connection: psycopg.Connection, policy: Policy, change: LoginChange, password: str | None) -> None:
    who = sql.Identifier(change.name)
    settle_login(connection, policy, change.name, change.groups, password if change.new else None)
    if not change.groups:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(who))
    connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(who, sql.Literal(MARK)))


def _remove(connection: psycopg.Connection, name: str) -> None:
    who = sql.Identifier(name)
    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(who, sql.Identifier(OWNER)))
    connection.execute(sql.SQL("DROP OWNED BY {}").format(who))
    connection.execute(sql.SQL("DROP ROLE {}").format(who))
