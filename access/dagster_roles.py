"""Who may call which GraphQL mutation of Dagster, by the policy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from access.policy import DagsterRoles


class Role(IntEnum):
    """What somebody is in Dagster's UI; each may what those below it may."""

    NOBODY = 0
    VIEWER = 1
    LAUNCHER = 2
    ADMINISTRATOR = 3


def role_of(roles: DagsterRoles, groups: Iterable[str]) -> Role:
    """The highest role that somebody in these groups has."""
    by_group = {
        **dict.fromkeys(roles.viewers, Role.VIEWER),
        **dict.fromkeys(roles.launchers, Role.LAUNCHER),
        **dict.fromkeys(roles.administrators, Role.ADMINISTRATOR),
    }
    return max((by_group.get(group, Role.NOBODY) for group in groups), default=Role.NOBODY)


def least_role(roles: DagsterRoles, mutation: str) -> Role | None:
    """The lowest role that may call a mutation; None where nobody may."""
    for role, named in (
        (Role.VIEWER, roles.view),
        (Role.LAUNCHER, roles.launch),
        (Role.ADMINISTRATOR, roles.administer),
    ):
        if mutation in named:
            return role
    return None


def may(roles: DagsterRoles, role: Role, mutation: str) -> bool:
    """Whether a role may call a mutation."""
    least = least_role(roles, mutation)
    return least is not None and role >= least
