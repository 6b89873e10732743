"""What the policy gives to whom, in one list for every enforcement point, and why somebody may do something. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from access.dagster_roles import may, role_of
from access.kafka_acls import EVERY, acl_rules, group_rules
from access.policy import Policy, PolicyError
from access.postgres_grants import rights

Point = Literal["kafka", "postgres", "lake", "keys", "gateway", "dagster", "databricks"]
EVERYONE = "everyone"
"""The holder of what nobody has to sign in for."""
ALL = "everything"
"""The verb of Kafka's super users, whom no rule limits."""
TOPIC, CONSUMERS = "topic", "consumer group"
_KAFKA_KINDS = {"TOPIC": TOPIC, "GROUP": CONSUMERS, "CLUSTER": "cluster"}
ROUTE, MUTATION = "route", "mutation"


@dataclass(frozen=True, order=True)
class Grant:
    """`holder`, an identity, a group or `EVERYONE`, may do `verb` at an enforcement point.

    `name` is a topic, a consumer group, `schema.table`, `schema.function(types)`, a path of the gateway, a GraphQL
    mutation of Dagster's, a table of the lake or a resource of the bundle for Databricks; with `prefix` it is what the
    name begins with. `column` limits it to one column of a table.
    """

    holder: str
    point: Point
    kind: str
    name: str
    verb: str
    column: str = ""
    prefix: bool = False

    @property
    def object(self) -> str:
        """What it is about, for people."""
        if self.verb == ALL:
            return "every topic and consumer group"
        if self.point == "postgres":
            return f"{self.name} ({self.column})" if self.column else self.name
        if self.prefix:
            return f"{self.kind}s {self.name}*" if self.name else f"every {self.kind}"
        return f"{self.kind} {self.name}"

    def covers(self, name: str) -> bool:
        """Whether it is about what has this name."""
        if self.kind == ROUTE and not self.prefix and name != self.name:
            return re.fullmatch("[^/]+".join(map(re.escape, re.split(r"\{[a-z]+\}", self.name))), name) is not None
        return name.startswith(self.name) if self.prefix else name == self.name


def grants(policy: Policy, topics: Mapping[str, str]) -> list[Grant]:
    """Everything that the policy gives, sorted, each once.

    The right to connect to the database and to use a schema goes with a right inside it, and is left out.

    Args:
        topics: what each `${name}` stands for.

    Raises:
        PolicyError: the policy names a `${name}` that is none of them.
    """
    found = {
        Grant(name, "kafka", kind, "", ALL, prefix=True)
        for name, identity in policy.identities.items()
        if identity.kafka_super_user
        for kind in (TOPIC, CONSUMERS)
    }
    for rule in (*acl_rules(policy, topics), *group_rules(policy, topics)):
        every = rule.name == EVERY
        found.add(
            Grant(
                rule.principal.split(":", 1)[1],
                "kafka",
                _KAFKA_KINDS[rule.resource_type],
                "" if every else rule.name,
                rule.operation,
                prefix=every or rule.pattern == "PREFIXED",
            )
        )
    for right in rights(policy):
        if right.kind not in ("database", "schema"):
            kind = "function" if right.kind == "function" else "table"
            found.add(Grant(right.role, "postgres", kind, right.name, right.verb, right.column))
    for name, identity in policy.identities.items():
        found |= {
            Grant(name, "lake", "lake table", right.tables.removesuffix("*"), verb, prefix=right.tables.endswith("*"))
            for right in identity.lake
            for verb in right.allow
        }
        found |= {Grant(name, "keys", "data key", "", verb, prefix=True) for verb in identity.keys}
    found |= {
        Grant(holder, "gateway", ROUTE, route.path.removesuffix("*"), method, prefix=route.path.endswith("/*"))
        for route in policy.routes
        for holder in route.groups or (EVERYONE,)
        for method in route.methods
    }
    found |= {
        Grant(group, "dagster", MUTATION, mutation, "call")
        for group in policy.groups
        for mutation in (*policy.dagster.view, *policy.dagster.launch, *policy.dagster.administer)
        if may(policy.dagster, role_of(policy.dagster, [group]), mutation)
    }
    found |= {
        Grant(group, "databricks", right.kind, right.name, verb)
        for group, said in policy.groups.items()
        for right in said.databricks
        for verb in right.allow
    }
    return sorted(found)


def about(given: Iterable[Grant], what: str) -> list[Grant]:
    """Those of the grants that are about `what`: the name of a topic, a consumer group, a table or a function.

    Raises:
        PolicyError: the policy speaks of nothing of that name; lists what it speaks of.
    """
    every = list(given)
    named = [grant for grant in every if grant.name and grant.covers(what)]
    if not named:
        names = {grant.name + ("*" if grant.prefix else "") for grant in every if grant.name and grant.kind != MUTATION}
        valid = ", ".join(sorted(names, key=lambda name: (name.startswith("/"), name)))
        raise PolicyError(
            f"The policy speaks of nothing named {what!r}. It speaks of: {valid}; and of Dagster's GraphQL mutations."
        )
    of = {(grant.point, grant.kind) for grant in named}
    return [grant for grant in every if (grant.point, grant.kind) in of and grant.covers(what)]
