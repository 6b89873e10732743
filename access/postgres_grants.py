"""Compiles the policy to what PostgreSQL should hold: roles, rights, and what their sessions begin with.

Pure: the database is told, and compared, by resources/postgres_roles.py. A role has the name of its identity or group.
Whoever has a right on something may also connect to the database and use the schema it lies in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from access.policy import DatabaseRight, Group, Identity, Policy, SessionSettings

Kind = Literal["database", "schema", "table", "column", "function"]
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000}


@dataclass(frozen=True, order=True)
class Right:
    """`role` may do `verb` on one object.

    `name` is empty for the database, `schema` for a schema, `schema.object` otherwise; `grantable` says that the role
    may pass the right on, which the policy never wants.
    """

    role: str
    kind: Kind
    name: str
    verb: str
    column: str = ""
    grantable: bool = False


@dataclass(frozen=True, order=True)
class Role:
    """A role that there should be; `settings` are what its sessions begin with, by name."""

    name: str
    login: bool
    settings: tuple[tuple[str, str], ...] = ()


def roles(policy: Policy) -> list[Role]:
    """The roles of the policy, sorted: groups, and the identities that have rights in the platform's database."""
    found = [Role(name, False, session_settings([group.session])) for name, group in policy.database_groups.items()]
    for name, identity in policy.identities.items():
        if identity.postgres:
            found.append(Role(name, True, session_settings([identity.session])))
    return sorted(found)


def rights(policy: Policy) -> frozenset[Right]:
    """Every right that the policy grants in the platform's database; what is not in it is refused."""
    holders: Mapping[str, Identity | Group] = {**policy.identities, **policy.groups}
    return frozenset(
        right for role, holder in holders.items() for given in holder.postgres for right in _rights(role, given)
    )


def schemas(policy: Policy) -> list[str]:
    """The schemas that the policy speaks of, sorted."""
    return sorted({right.name for right in rights(policy) if right.kind == "schema"})


def markdown_matrix(policy: Policy, schema: str) -> str:
    """Who may do what in a schema, as a table of Markdown: a row a role, groups first, a column an object."""
    held: dict[str, dict[str, list[str]]] = {}
    for right in sorted(rights(policy)):
        if right.name.startswith(f"{schema}."):
            verb = f"{right.verb} ({right.column})" if right.column else right.verb
            held.setdefault(right.role, {}).setdefault(right.name.removeprefix(f"{schema}."), []).append(verb)
    objects = sorted({name for row in held.values() for name in row})
    lines = [f"| role | {' | '.join(objects)} |", f"| --- |{' --- |' * len(objects)}"]
    for role in sorted(held, key=lambda one: (one not in policy.groups, one)):
        cells = (", ".join(held[role].get(name, [])) for name in objects)
        lines.append(f"| {role} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def session_settings(sessions: Iterable[SessionSettings | None]) -> tuple[tuple[str, str], ...]:
    """What a session begins with, by name, sorted; of several groups the shortest time-out counts."""
    given = [session for session in sessions if session is not None]
    if not given:
        return ()
    chosen = {"search_path": ", ".join(given[0].search_path)}
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        chosen[name] = min((getattr(session, name) for session in given), key=_milliseconds)
    return tuple(sorted(chosen.items()))


def _rights(role: str, given: DatabaseRight) -> Iterable[Right]:
    yield Right(role, "database", "", "CONNECT")
    yield Right(role, "schema", given.schema_name, "USAGE")
    name = f"{given.schema_name}.{given.table or given.function}"
    for verb in given.allow:
        if given.function is not None:
            yield Right(role, "function", name, verb)
        elif given.columns:
            yield from (Right(role, "column", name, verb, column) for column in given.columns)
        else:
            yield Right(role, "table", name, verb)


def _milliseconds(duration: str) -> int:
    number = duration.rstrip("msin")
    return int(number) * _MILLISECONDS[duration[len(number) :]]
