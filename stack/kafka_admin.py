"""What the stack asks of a running broker, as the identity `admin`: is it there, and its access rules.

Rules are compared with what stands there, and only the difference is applied: a second time there is nothing to do, and
a right that the policy no longer grants goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from access.kafka_acls import AclRule
from resources.kafka import client_config
from resources.settings import Settings
from stack.errors import StackError


def admin_client(settings: Settings) -> AdminClient:
    """A client with the certificate that `settings` names; it says nothing while the broker is still starting."""
    return AdminClient({**client_config(settings), "reconnect.backoff.max.ms": "500", "log_level": "0"})


def answers(client: AdminClient, seconds: float = 3.0) -> bool:
    """Whether the broker gives its metadata, itself among the brokers, over mutual TLS."""
    try:
        return bool(client.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False


def apply_rules(client: AdminClient, settings: Settings, wanted: Iterable[AclRule]) -> tuple[int, int]:
    """Put the broker's access rules to `wanted`. Returns how many were added and removed."""
    anything: Any = None  # which the client takes, and its annotations do not say
    everything = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        anything,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    (found,) = _answer([client.describe_acls(everything)], settings, "reading access rules")
    bindings = {_binding(rule) for rule in wanted}
    missing = bindings - set(found)
    surplus = set(found) - bindings
    if missing:
        _answer(client.create_acls(list(missing)).values(), settings, "adding access rules")
    if surplus:
        filters = [
            AclBindingFilter(
                acl.restype,
                acl.name,
                acl.resource_pattern_type,
                acl.principal,
                acl.host,
                acl.operation,
                acl.permission_type,
            )
            for acl in surplus
        ]
        _answer(client.delete_acls(filters).values(), settings, "removing access rules")
    return len(missing), len(surplus)


def _binding(rule: AclRule) -> AclBinding:
    return AclBinding(
        ResourceType[rule.resource_type],
        rule.name,
        ResourcePatternType[rule.pattern],
        rule.principal,
        "*",
        AclOperation[rule.operation],
        AclPermissionType.ALLOW,
    )


def _answer(futures: Iterable, settings: Settings, doing: str) -> list:
    try:
        return [future.result(timeout=settings.kafka_timeout_seconds) for future in futures]
    except TimeoutError:
        within = f"within {settings.kafka_timeout_seconds} s while {doing}"
        raise StackError(
            f"Kafka at {settings.kafka_bootstrap} did not answer {within}. See `darkroom logs kafka`."
        ) from None
