"""Compiles the policy to Kafka's access rules. Pure: the broker is told by whoever holds the admin identity.

Every rule allows; what no rule allows is refused (`allow.everyone.if.no.acl.found=false`). Super users need no rule:
the broker's own configuration names them. Kafka knows no groups: a person's rules are those of the groups that the
directory has them in, so that who leaves one loses its rules.

A service is known by its certificate and a person by a token, and both are names of the one kind `User`. A person's
therefore begins with `person:`, which no certificate can have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from string import Template

from access.policy import KafkaRight, Policy, PolicyError
from access.principal import kafka_principal

EVERY = "*"
"""Kafka's name for every resource of a type, with the pattern LITERAL."""
CLUSTER = "kafka-cluster"
"""Kafka's name for the cluster itself."""
GROUP = "Group:"
PERSON = f"User:{kafka_principal('')}"
"""What a person's principal begins with."""


@dataclass(frozen=True, order=True)
class AclRule:
    """One rule: `principal` (`User:name`) may do `operation` on the resource.

    `Group:name` stands for a group's members; no broker is told that. The policy's rules hold for every host and allow;
    others may stand.
    """

    principal: str
    resource_type: str
    pattern: str
    name: str
    operation: str
    host: str = EVERY
    permission: str = "ALLOW"


def acl_rules(policy: Policy, topics: Mapping[str, str]) -> list[AclRule]:
    """The rules of the services, sorted, each once.

    Args:
        topics: what each `${name}` stands for.

    Raises:
        PolicyError: the policy names a `${name}` that is none of them.
    """
    every = (_rules(f"User:{name}", one.kafka, topics) for name, one in policy.identities.items())
    return sorted({rule for rules in every for rule in rules})


def group_rules(policy: Policy, topics: Mapping[str, str]) -> list[AclRule]:
    """The rules of the groups, as `acl_rules`."""
    every = (_rules(f"{GROUP}{name}", one.kafka, topics) for name, one in policy.groups.items())
    return sorted({rule for rules in every for rule in rules})


def person_rules(policy: Policy, topics: Mapping[str, str], people: Mapping[str, Iterable[str]]) -> list[AclRule]:
    """The rules of people, as `acl_rules`.

    Args:
        people: the groups of everybody, by name.
    """
    of_groups = group_rules(policy, topics)
    return sorted(
        {
            replace(rule, principal=f"{PERSON}{name}")
            for name, groups in people.items()
            for rule in of_groups
            if rule.principal.removeprefix(GROUP) in groups
        }
    )


def is_person(principal: str) -> bool:
    """Whether this is a principal of a person."""
    return principal.startswith(PERSON)


def _rules(principal: str, rights: Iterable[KafkaRight], topics: Mapping[str, str]) -> Iterator[AclRule]:
    for right in rights:
        for operation in right.allow:
            if right.topic is not None:
                yield AclRule(principal, "TOPIC", "LITERAL", _named(right.topic, topics), operation)
            elif right.group_prefix is not None:
                yield AclRule(principal, "GROUP", "PREFIXED", right.group_prefix, operation)
            elif right.every_group:
                yield AclRule(principal, "GROUP", "LITERAL", EVERY, operation)
            else:
                yield AclRule(principal, "CLUSTER", "LITERAL", CLUSTER, operation)


def _named(topic: str, topics: Mapping[str, str]) -> str:
    try:
        return Template(topic).substitute(topics)
    except (KeyError, ValueError) as error:
        valid = ", ".join(f"${{{name}}}" for name in sorted(topics))
        raise PolicyError(f"The policy names the topic {topic!r}. Valid names of settings: {valid}.") from error


def super_users(policy: Policy) -> list[str]:
    """The principals that the broker's configuration names as super users, sorted."""
    return sorted(f"User:{name}" for name, identity in policy.identities.items() if identity.kafka_super_user)
