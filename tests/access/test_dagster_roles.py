"""Roles in Dagster's UI: what each may call, and that the policy knows every mutation of the installed release."""

from __future__ import annotations

import pytest
from dagster_graphql.schema import create_schema

from access.dagster_roles import Role, may, role_of
from access.policy import load_policy

ROLES = load_policy().dagster


def test_every_mutation_of_the_installed_release_stands_in_one_list_and_no_other_does() -> None:
    """An upgrade that brings a new one, or takes one away, is for a person to judge."""
    there = set(create_schema().graphql_schema.mutation_type.fields)
    assert {*ROLES.view, *ROLES.launch, *ROLES.administer, *ROLES.nobody} == there


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        ([], Role.NOBODY),
        (["sales", "logistics", "image-uploaders"], Role.NOBODY),
        (["analytics"], Role.VIEWER),
        (["analytics", "ml-engineers"], Role.LAUNCHER),
        (["platform-admins", "analytics"], Role.ADMINISTRATOR),
    ],
)
def test_the_highest_role_counts(groups: list[str], role: Role) -> None:
    assert role_of(ROLES, groups) is role


@pytest.mark.parametrize("role", list(Role))
def test_a_role_calls_what_is_its_own_or_a_lower_ones(role: Role) -> None:
    for least, named in (
        (Role.VIEWER, ROLES.view),
        (Role.LAUNCHER, ROLES.launch),
        (Role.ADMINISTRATOR, ROLES.administer),
    ):
        assert {may(ROLES, role, one) for one in named} == {role >= least}
    assert not [one for one in (*ROLES.nobody, "notYetInvented") if may(ROLES, role, one)]
