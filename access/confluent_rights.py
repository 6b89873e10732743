"""Compiles the policy for Confluent: exact rules, and role bindings of groups where a role is no more than that. Pure.

Confluent Server looks groups up in the directory itself, so that rules name them (`Group:ml-engineers`) and no member
needs rules of their own. A role binding is given where the role's operations on a resource are those of the policy; its
roles are coarser than rules, and what no role fits stays a rule.

Roles by Confluent's list of predefined roles. Limit: it has run on no Confluent cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from access.kafka_acls import AclRule, acl_rules, group_rules
from access.policy import Policy

_ROLES = {
    ("TOPIC", frozenset({"READ", "DESCRIBE"})): "DeveloperRead",
    ("GROUP", frozenset({"READ", "DESCRIBE"})): "DeveloperRead",
    ("TOPIC", frozenset({"WRITE", "DESCRIBE"})): "DeveloperWrite",
}
_RESOURCES = {"TOPIC": "Topic", "GROUP": "Group"}


def confluent_acls(policy: Policy, topics: Mapping[str, str]) -> list[dict[str, str]]:
    """The rules that no role binding stands for, of services and of groups, by the names of Terraform's provider."""
    bound = {rule for _, _, rules in _bound(policy, topics) for rule in rules}
    return [
        {
            "principal": rule.principal,
            "resource_type": rule.resource_type,
            "resource_name": rule.name,
            "pattern_type": rule.pattern,
            "operation": rule.operation,
            "permission": rule.permission,
            "host": rule.host,
        }
        for rule in _rules(policy, topics)
        if rule not in bound
    ]


def confluent_role_bindings(policy: Policy, topics: Mapping[str, str]) -> list[dict[str, Any]]:
    """Role bindings of groups, as the metadata service takes them (its role bindings API)."""
    return [
        {
            "principal": rules[0].principal,
            "role": role,
            "resourcePatterns": [{"resourceType": kind, "name": rules[0].name, "patternType": rules[0].pattern}],
        }
        for role, kind, rules in _bound(policy, topics)
    ]


def ldap_properties() -> dict[str, str]:
    """How Confluent Server finds groups, with the settings' names where an installation differs."""
    return {
        "ldap.java.naming.provider.url": "${ldap_urls}",
        "ldap.java.naming.security.principal": "${ldap_bind_dn}",
        "ldap.java.naming.security.credentials": "${file:${ldap_credentials_file}:password}",
        "ldap.java.naming.security.authentication": "simple",
        "ldap.search.mode": "GROUPS",
        "ldap.group.search.base": "${ldap_base}",
        "ldap.group.object.class": "groupOfNames",
        "ldap.group.name.attribute": "cn",
        "ldap.group.member.attribute": "member",
        "ldap.group.member.attribute.pattern": "uid=(.*?),.*",
        "ldap.user.search.base": "${ldap_base}",
        "ldap.user.object.class": "inetOrgPerson",
        "ldap.user.name.attribute": "uid",
        # A membership that was taken away is to act within a minute.
        "ldap.refresh.interval.ms": "60000",
    }


def _rules(policy: Policy, topics: Mapping[str, str]) -> list[AclRule]:
    return [*acl_rules(policy, topics), *group_rules(policy, topics)]


def _bound(policy: Policy, topics: Mapping[str, str]) -> Iterator[tuple[str, str, list[AclRule]]]:
    """The rules of a group on one resource that a role is no more than: the role, Confluent's type, and the rules."""

    def resource(rule: AclRule) -> tuple[str, str, str, str]:
        return rule.principal, rule.resource_type, rule.pattern, rule.name

    for (_, kind, _, _), of in groupby(sorted(group_rules(policy, topics), key=resource), key=resource):
        rules = list(of)
        role = _ROLES.get((kind, frozenset(rule.operation for rule in rules)))
        if role is not None:
            yield role, _RESOURCES[kind], rules
