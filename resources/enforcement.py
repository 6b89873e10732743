"""The points where the policy is enforced, each compared with it in the same way.

A point says what differs, in sentences, and what command mends it; those that hold rights of their own can also be put
to what the policy says. Their order is a safe one to apply in: a role is there before its members, and whoever the
gateway lets through finds the rights that they came for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from access.points import PointName
from access.policy import Policy
from resources.directory import Directory, Person
from resources.kafka_rights import KafkaRights
from resources.policy_holders import GATEWAY, held_policy
from resources.postgres_roles import PostgresRoles
from resources.settings import Settings
from resources.shop_logins import LoginPlan, apply_logins, plan_logins

Everybody = Callable[[], Sequence[Person]]
"""Asks for everybody of the directory, to the end; raises DirectoryAway or DirectoryRefused."""

Settle = Callable[[Sequence[Person]], LoginPlan]


@dataclass(frozen=True)
class PostgresPoint:
    """Roles and rights in the platform's database; see `PostgresRoles`."""

    dsn: str
    policy: Policy
    name: PointName = "postgres"

    def differences(self) -> Sequence[str]:
        """What differs."""
        return PostgresRoles(self.dsn, self.policy).drift()

    def apply(self) -> Sequence[str]:
        """Put it right."""
        return [change.sentence for change in PostgresRoles(self.dsn, self.policy).apply()]


@dataclass(frozen=True)
class LoginsPoint:
    """Logins of people; `settle` makes them, by default without passwords. See `resources.shop_logins`."""

    dsn: str
    policy: Policy
    everybody: Everybody
    settle: Settle | None = None
    name: PointName = "logins"

    def differences(self) -> Sequence[str]:
        """What differs."""
        return [change.sentence for change in plan_logins(self.dsn, self.policy, self.everybody()).changes]

    def apply(self) -> Sequence[str]:
        """Put it right."""
        settle = self.settle or (lambda people: apply_logins(self.dsn, self.policy, people))
        return [change.sentence for change in settle(self.everybody()).changes]


@dataclass(frozen=True)
class KafkaPoint:
    """Access rules at Kafka; those of people are let be where there is no directory. See `KafkaRights`."""

    settings: Settings
    policy: Policy
    everybody: Everybody | None
    name: PointName = "kafka"

    def differences(self) -> Sequence[str]:
        """What differs."""
        return [change.sentence for change in self._rights().plan()]

    def apply(self) -> Sequence[str]:
        """Put it right."""
        return [change.sentence for change in self._rights().apply()]

    def _rights(self) -> KafkaRights:
        people = None if self.everybody is None else {one.name: one.groups for one in self.everybody()}
        return KafkaRights(self.settings, self.policy, people)


@dataclass(frozen=True)
class HoldersPoint:
    """Programs that read the policy when they start; another policy is another start."""

    name: PointName
    sockets: Mapping[str, Path]
    policy: Policy

    def differences(self) -> Sequence[str]:
        """What differs."""
        return [
            f"{name} runs with {f'policy {held}' if held else 'no policy that it knows of'}, and this one is "
            f"{self.policy.digest}"
            for name, uds in self.sockets.items()
            if (held := held_policy(name, uds)) != self.policy.digest
        ]


Point = PostgresPoint | LoginsPoint | KafkaPoint | HoldersPoint
"""`differences` says what stands there and the policy does not give, and what is missing; it is empty where all is as
the policy says. `apply` makes it so, and says what it did in the same words. Both raise a PlatformFailure where the
point, or the directory, cannot be asked."""


def everybody_of(settings: Settings) -> Everybody | None:
    """Asks the directory that is set, once for all who call it; None where none is set."""
    if not settings.ldap_urls:
        return None
    known: list[list[Person]] = []

    def everybody() -> list[Person]:
        if not known:
            known.append(list(Directory(settings).everyone()))
        return known[0]

    return everybody


def points(
    settings: Settings, policy: Policy, dsn: str, everybody: Everybody | None, settle: Settle | None = None
) -> Iterator[Point]:
    """The points that these settings reach, in the order to apply in.

    Args:
        dsn: libpq connection string of the platform's database.
        everybody: as of `everybody_of`.
        settle: makes the logins of these people; by default without passwords.
    """
    yield PostgresPoint(dsn, policy)
    if everybody is not None:
        yield LoginsPoint(dsn, policy, everybody, settle)
    yield KafkaPoint(settings, policy, everybody)
    names: Iterable[PointName] = ("gateway", "dagster")
    for name in names:
        sockets = {one: uds for one, uds in settings.policy_holders.items() if (one == GATEWAY) is (name == GATEWAY)}
        if sockets:
            yield HoldersPoint(name, sockets, policy)
