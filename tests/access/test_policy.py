"""The one policy and what is compiled from it."""

from __future__ import annotations

import pytest

from access.kafka_acls import AclRule, acl_rules, super_users
from access.policy import PolicyError, load_policy, parse_policy
from access.postgres_grants import Right, rights, roles, session_settings

TOPICS = {"topic": "images.raw", "labels_topic": "images.labels", "recognised_topic": "images.recognised"}

ONE = """
identities:
  uploads:
    note: the door
    kafka: [{topic: "${topic}", allow: [WRITE]}, {group_prefix: doors, allow: [READ]}]
    postgres: [{schema: images, table: image_status, allow: [UPDATE, SELECT]}]
  broker: {note: itself, kafka_super_user: true}
"""


def test_a_topic_right_becomes_one_literal_rule_per_operation_with_the_topics_name():
    rules = acl_rules(parse_policy(ONE), TOPICS)
    assert AclRule("User:uploads", "TOPIC", "LITERAL", "images.raw", "WRITE") in rules
    assert AclRule("User:uploads", "GROUP", "PREFIXED", "doors", "READ") in rules
    assert len(rules) == 2


def test_a_right_on_every_group_becomes_kafkas_wildcard_and_nothing_else_does():
    one = parse_policy("identities: {a: {note: n, kafka: [{every_group: true, allow: [READ]}]}}")
    assert acl_rules(one, TOPICS) == [AclRule("User:a", "GROUP", "LITERAL", "*", "READ")]
    wide = {rule.principal for rule in acl_rules(load_policy(), TOPICS) if rule.name == "*"}
    assert wide == {"User:operator"}, "services have groups of their own"


def test_a_super_user_is_named_to_the_broker_and_needs_no_rule():
    policy = parse_policy(ONE)
    assert super_users(policy) == ["User:broker"]
    assert not [rule for rule in acl_rules(policy, TOPICS) if rule.principal == "User:broker"]


def test_a_table_right_becomes_rights_of_the_role_on_it_and_on_the_way_there():
    assert rights(parse_policy(ONE)) == {
        Right("uploads", "database", "", "CONNECT"),
        Right("uploads", "schema", "images", "USAGE"),
        Right("uploads", "table", "images.image_status", "SELECT"),
        Right("uploads", "table", "images.image_status", "UPDATE"),
    }


GROUP = """
identities: {}
groups:
  packers:
    note: n
    postgres:
      - {schema: shop, table: sales, columns: [status], allow: [UPDATE]}
      - {schema: shop, function: "items_as_of(timestamp with time zone)", allow: [EXECUTE]}
    session: {search_path: [shop], statement_timeout: 2min, lock_timeout: 5s, idle_in_transaction_session_timeout: 90s}
"""


def test_a_group_is_a_role_that_does_not_log_in_with_rights_on_columns_and_functions():
    policy = parse_policy(GROUP)
    (role,) = roles(policy)
    assert (role.name, role.login) == ("packers", False)
    assert {right for right in rights(policy) if right.kind in ("column", "function")} == {
        Right("packers", "column", "shop.sales", "UPDATE", "status"),
        Right("packers", "function", "shop.items_as_of(timestamp with time zone)", "EXECUTE"),
    }


def test_whoever_is_in_two_groups_has_the_shorter_time_out_of_each_kind():
    one = parse_policy(GROUP).groups["packers"].session
    assert one is not None
    other = one.model_copy(update={"statement_timeout": "119s", "lock_timeout": "5001ms"})
    assert dict(session_settings([one, other])) == {
        "search_path": "shop",
        "statement_timeout": "119s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "90s",
    }


def test_a_group_without_rights_in_the_database_is_no_role_there():
    policy = parse_policy(GROUP + "  readers: {note: n}\n")
    assert list(policy.groups) == ["packers", "readers"]
    assert list(policy.database_groups) == ["packers"] == [role.name for role in roles(policy)]


@pytest.mark.parametrize(
    "half",
    [
        "{note: n, postgres: [{schema: shop, table: sales, allow: [SELECT]}]}",
        "{note: n, session: {search_path: [shop], statement_timeout: 1s, lock_timeout: 1s, "
        "idle_in_transaction_session_timeout: 1s}}",
    ],
)
def test_a_group_has_rights_in_the_database_and_a_session_or_neither(half: str):
    with pytest.raises(PolicyError, match="a group has rights in postgres and a session, or neither"):
        parse_policy(f"identities: {{}}\ngroups:\n  g: {half}\n")


def test_the_shipped_policy_lets_the_door_write_and_never_read():
    rules = [rule for rule in acl_rules(load_policy(), TOPICS) if rule.principal == "User:uploads"]
    images = {rule.operation for rule in rules if rule.name == "images.raw"}
    assert images == {"WRITE", "DESCRIBE"}


def test_a_topic_of_no_setting_is_refused_with_the_valid_names():
    wrong = parse_policy("identities: {a: {note: n, kafka: [{topic: '${topics}', allow: [READ]}]}}")
    with pytest.raises(PolicyError, match=r"\$\{labels_topic\}, \$\{recognised_topic\}, \$\{topic\}"):
        acl_rules(wrong, TOPICS)


def test_the_shipped_policy_has_two_super_users_and_no_service_is_one():
    assert super_users(load_policy()) == ["User:admin", "User:broker"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("identities: {a: {note: n, kafka: [{topic: t, allow: [SING]}]}}", "'READ', 'WRITE'"),
        ("identities: {a: {note: n, kafka: [{topic: t, group_prefix: g, allow: [READ]}]}}", "exactly one of"),
        ("identities: {a: {note: n, kafka: [{group_prefix: '', allow: [READ]}]}}", "every one"),
        ("identities: {a: {note: n, kafka: [{every_group: false, allow: [READ]}]}}", "every_group"),
        ("identities: {a: {note: n, kafka: [{topic: t, allow: []}]}}", "at least 1"),
        ("identities: {a: {note: n, kafkas: []}}", "kafkas"),
        ("identities: {'a b': {note: n}}", "pattern"),
        ("identities: [", "no YAML"),
        ("identities: {a: {note: n, postgres: [{schema: s, allow: [SELECT]}]}}", "exactly one of: table, function"),
        ("identities: {a: {note: n, postgres: [{schema: s, table: t, allow: [EXECUTE]}]}}", "right on a function"),
        ("identities: {a: {note: n, postgres: [{schema: s, function: f(), allow: [SELECT]}]}}", "EXECUTE"),
        ("identities: {a: {note: n, postgres: [{schema: s, table: t, columns: [c], allow: [DELETE]}]}}", "INSERT, SEL"),
        (GROUP.replace("identities: {}", "identities: {packers: {note: n}}"), "both an identity and a group: packers"),
        (GROUP.replace("2min", "2"), "statement_timeout"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_its_place_and_never_a_right(wrong: str, said: str):
    with pytest.raises(PolicyError, match="policy") as refused:
        parse_policy(wrong)
    assert said in str(refused.value)
