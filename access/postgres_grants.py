"""Compiles the policy to PostgreSQL's grants. Pure: the database is told by whoever holds the admin identity."""

from __future__ import annotations

from dataclasses import dataclass

from access.policy import Policy


@dataclass(frozen=True, order=True)
class Grant:
    """`role` may use `rights` on one table of the platform's database."""

    role: str
    schema: str
    table: str
    rights: tuple[str, ...]


def grants(policy: Policy) -> list[Grant]:
    """The grants of the policy, sorted. A role has the name of its identity."""
    return sorted(
        Grant(name, right.schema_name, right.table, tuple(sorted(set(right.allow))))
        for name, identity in policy.identities.items()
        for right in identity.postgres
    )
