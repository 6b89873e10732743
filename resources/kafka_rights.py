"""Kafka's access rules put to what the policy says: plan, apply.

What stands is asked of the broker, and only what differs is changed: missing rules are added first, and then those go
that the policy does not give. A second plan is empty. Reading needs DESCRIBE on the cluster; changing needs ALTER,
which the identity `admin` has as a super user.

Who is in a group is the directory's to say. Where it was not asked, no person's rule is missing or too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from access.kafka_acls import EVERY, AclRule, acl_rules, is_person, person_rules
from access.policy import Policy
from resources.kafka import Admin
from resources.settings import Settings
from resources.topics import topic_settings

_TYPES = {"CLUSTER": "BROKER"}
"""Kafka's types of resources where librdkafka has another name."""


@dataclass(frozen=True)
class RuleChange:
    """One difference: a rule is missing, or stands and nothing gives it."""

    rule: AclRule
    missing: bool

    @property
    def sentence(self) -> str:
        """What differs, for people."""
        one = self.rule
        kind = one.resource_type.lower()
        of = f"every {kind}" if one.name == EVERY else f"{kind} {one.name}"
        of += "*" if one.pattern == "PREFIXED" else ""
        who = one.principal.removeprefix("User:") + ("" if one.host == EVERY else f" from {one.host}")
        if one.permission != "ALLOW":
            return f"{who} is denied {one.operation} on {of}, which the policy does not say"
        if self.missing:
            return f"{who} lacks {one.operation} on {of}"
        return f"{who} has {one.operation} on {of}, which the policy does not give"


class KafkaRights:
    """The access rules of one cluster.

    Args:
        settings: how to reach it, and as whom.
        policy: what should be.
        people: the groups of everybody, by name; None where the directory was not asked.
    """

    def __init__(self, settings: Settings, policy: Policy, people: Mapping[str, Iterable[str]] | None = None) -> None:
        self._settings = settings
        self._policy = policy
        self._people = people

    def plan(self) -> tuple[RuleChange, ...]:
        """What apply would do; empty when all is as the policy says.

        Raises:
            KafkaUnavailable, KafkaRefused: the broker is away, or this identity may not read its rules.
        """
        return self._differences(Admin(self._settings))

    def apply(self, changes: Iterable[RuleChange] | None = None) -> tuple[RuleChange, ...]:
        """Put the rules to what the policy says. Returns what was done; a broken-off call is finished by the next.

        Args:
            changes: those of a plan to make; by default all.

        Raises:
            KafkaUnavailable, KafkaRefused: the broker is away, or this identity may not change its rules.
        """
        admin = Admin(self._settings)
        changes = self._differences(admin) if changes is None else tuple(changes)
        missing = [_binding(change.rule) for change in changes if change.missing]
        surplus = [_filter(change.rule) for change in changes if not change.missing]
        if missing:
            admin.ask("to add access rules", lambda seconds: _done(admin.client.create_acls(missing), seconds))
        if surplus:
            admin.ask("to remove access rules", lambda seconds: _done(admin.client.delete_acls(surplus), seconds))
        return changes

    def _differences(self, admin: Admin) -> tuple[RuleChange, ...]:
        topics = topic_settings(self._settings)
        wanted = {*acl_rules(self._policy, topics), *person_rules(self._policy, topics, self._people or {})}
        stands = {
            rule
            for rule in admin.ask("for its access rules", lambda seconds: _standing(admin, seconds))
            if self._people is not None or not is_person(rule.principal)
        }
        return (
            *(RuleChange(rule, missing=True) for rule in sorted(wanted - stands)),
            *(RuleChange(rule, missing=False) for rule in sorted(stands - wanted)),
        )


def _standing(admin: Admin, seconds: float) -> list[AclRule]:
    from confluent_kafka.admin import (
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    anything: Any = None  # which the client takes, and its annotations do not say
    where = (ResourceType.ANY, anything, ResourcePatternType.ANY)
    everything = AclBindingFilter(*where, anything, anything, AclOperation.ANY, AclPermissionType.ANY)
    ours = {theirs: kafka for kafka, theirs in _TYPES.items()}
    return [
        AclRule(
            found.principal,
            ours.get(found.restype.name, found.restype.name),
            found.resource_pattern_type.name,
            found.name,
            found.operation.name,
            found.host,
            found.permission_type.name,
        )
        for found in admin.client.describe_acls(everything, request_timeout=seconds).result()
    ]


def _binding(rule: AclRule) -> Any:
    from confluent_kafka.admin import AclBinding

    return AclBinding(*_parts(rule))


def _filter(rule: AclRule) -> Any:
    from confluent_kafka.admin import AclBindingFilter

    return AclBindingFilter(*_parts(rule))


def _parts(rule: AclRule) -> tuple[Any, ...]:
    from confluent_kafka.admin import AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    kind = ResourceType[_TYPES.get(rule.resource_type, rule.resource_type)]
    operation, permission = AclOperation[rule.operation], AclPermissionType[rule.permission]
    pattern = ResourcePatternType[rule.pattern]
    return kind, rule.name, pattern, rule.principal, rule.host, operation, permission


def _done(futures: Mapping[Any, Any], seconds: float) -> None:
    for future in futures.values():
        future.result(timeout=seconds)
