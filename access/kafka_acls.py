"""Compiles the policy to Kafka's access rules. Pure: the broker is told by whoever holds the admin identity.

Every rule allows; what no rule allows is refused (`allow.everyone.if.no.acl.found=false`). Super users need no rule:
the broker's own configuration names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Literal

from access.policy import Policy, PolicyError

EVERY = "*"
"""Kafka's name for every resource of a type, with the pattern LITERAL."""


@dataclass(frozen=True, order=True)
class AclRule:
    """One rule: `principal` (`User:name`) may do `operation` on the resource."""

    principal: str
    resource_type: Literal["TOPIC", "GROUP"]
    pattern: Literal["LITERAL", "PREFIXED"]
    name: str
    operation: str


def acl_rules(policy: Policy, topics: Mapping[str, str]) -> list[AclRule]:
    """The rules of the policy, sorted, each once.

    Args:
        topics: what each `${name}` stands for.

    Raises:
        PolicyError: the policy names a `${name}` that is none of them.
    """
    rules: set[AclRule] = set()
    for name, identity in policy.identities.items():
        for right in identity.kafka:
            for operation in right.allow:
                if right.topic is not None:
                    rules.add(AclRule(f"User:{name}", "TOPIC", "LITERAL", _named(right.topic, topics), operation))
                elif right.group_prefix is not None:
                    rules.add(AclRule(f"User:{name}", "GROUP", "PREFIXED", right.group_prefix, operation))
                else:
                    rules.add(AclRule(f"User:{name}", "GROUP", "LITERAL", EVERY, operation))
    return sorted(rules)


def _named(topic: str, topics: Mapping[str, str]) -> str:
    try:
        return Template(topic).substitute(topics)
    except (KeyError, ValueError) as error:
        valid = ", ".join(f"${{{name}}}" for name in sorted(topics))
        raise PolicyError(f"The policy names the topic {topic!r}. Valid names of settings: {valid}.") from error


def super_users(policy: Policy) -> list[str]:
    """The principals that the broker's configuration names as super users, sorted."""
    return sorted(f"User:{name}" for name, identity in policy.identities.items() if identity.kafka_super_user)
