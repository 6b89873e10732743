"""What the policy gives to whom, and why."""

from __future__ import annotations

import pytest

from access.explain import ALL, Grant, about, grants
from access.kafka_acls import acl_rules, group_rules
from access.policy import PolicyError, load_policy, parse_policy
from access.postgres_grants import rights
from tests.access.test_policy import GROUP, ONE, TOPICS


def of(text: str) -> list[Grant]:
    return grants(parse_policy(text), TOPICS)


def test_every_rule_and_right_of_the_shipped_policy_is_a_grant_and_nothing_else_is():
    policy = load_policy()
    listed = grants(policy, TOPICS)
    kafka = [grant for grant in listed if grant.point == "kafka" and grant.verb != ALL]
    assert len(kafka) == len(acl_rules(policy, TOPICS)) + len(group_rules(policy, TOPICS))
    inside = {right for right in rights(policy) if right.kind not in ("database", "schema")}
    assert {(grant.holder, grant.name, grant.verb, grant.column) for grant in listed if grant.point == "postgres"} == {
        (right.role, right.name, right.verb, right.column) for right in inside
    }
    assert {grant.holder for grant in listed if grant.verb == ALL} == {"broker", "admin"}


def test_objects_are_named_as_people_write_them():
    assert {grant.object for grant in of(ONE)} == {
        "topic images.raw",
        "consumer groups doors*",
        "images.image_status",
        "every topic and consumer group",
    }
    assert {grant.object for grant in of(GROUP)} == {
        "shop.sales (status)",
        "shop.items_as_of(timestamp with time zone)",
    }


def test_who_may_do_something_with_a_topic_counts_the_super_users_and_no_other_kind_of_thing():
    found = about(of(ONE), "images.raw")
    assert {(grant.holder, grant.verb) for grant in found} == {("uploads", "WRITE"), ("broker", ALL)}
    assert {grant.kind for grant in found} == {"topic"}


def test_a_prefix_covers_the_groups_that_begin_with_it_and_no_table_covers_another():
    assert {(grant.holder, grant.verb) for grant in about(of(ONE), "doors-1")} == {("uploads", "READ"), ("broker", ALL)}
    assert {grant.holder for grant in about(of(ONE), "images.image_status")} == {"uploads"}
    with pytest.raises(PolicyError, match="nothing named 'door'"):
        about(of(ONE), "door")


def test_what_the_policy_does_not_speak_of_is_refused_with_what_it_speaks_of():
    with pytest.raises(PolicyError) as caught:
        about(of(GROUP), "shop.sale")
    assert str(caught.value) == (
        "The policy speaks of nothing named 'shop.sale'. It speaks of: "
        "shop.items_as_of(timestamp with time zone), shop.sales; and of Dagster's GraphQL mutations."
    )


def test_nobody_but_sales_changes_items():
    given = about(grants(load_policy(), TOPICS), "shop.items")
    assert {grant.holder for grant in given if grant.verb != "SELECT"} == {"sales"}
