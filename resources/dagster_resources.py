"""The outside as Dagster resources: thin wrappers, so that assets name what they need and tests hand in another.

Each wrapper opens its part when asked, never at construction: loading definitions, or the web UI, touches no broker,
lake or key. All of them start from one `SettingsResource`. The libraries behind them are imported when first used,
for every second of import is paid by each run's process start.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.settings import Settings, load_settings
from resources.settings_identities import Acting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from access.points import PointName
    from resources.compute import Compute
    from resources.decoding import DecodePool
    from resources.failures import PlatformFailure
    from resources.kafka import TopicState
    from resources.keys import KeyStore
    from resources.lake import Lake
    from resources.postgres import ImageStatus
    from resources.purge_proof import Proof
    from resources.purging import Purge
    from resources.registry import Registry


class SettingsResource(dg.ConfigurableResource):
    """The settings of this process, from environment and file; `overrides` win (tests use them)."""

    overrides: dict[str, Any] = Field(default_factory=dict, description="Settings by name that win.")

    def load(self) -> Settings:
        """Read the settings now.

        Raises:
            SettingsError: a setting is unknown or cannot be; the message lists what is valid.
        """
        return load_settings(self.overrides)


class LakeResource(dg.ConfigurableResource):
    """The Delta tables."""

    settings: dg.ResourceDependency[SettingsResource]

    def open(self) -> "Lake":
        """A handle on the lake; opening a table raises TableMissing where there is none."""
        from resources.lake import open_lake

        return open_lake(self.settings.load())


class KafkaResource(dg.ConfigurableResource):
    """The image topic of this site's Kafka cluster."""

    settings: dg.ResourceDependency[SettingsResource]

    def load(self, timeout_seconds: float | None = None) -> Settings:
        """The settings to reach the broker with; `timeout_seconds` bounds each answer, never above the setting."""
        settings = self.settings.load()
        if timeout_seconds is None or timeout_seconds >= settings.kafka_timeout_seconds:
            return settings
        return settings.model_copy(update={"kafka_timeout_seconds": timeout_seconds})

    def watermarks(self, timeout_seconds: float | None = None) -> "TopicState":
        """Low and high watermark of every partition, and the topic's id.

        Raises:
            KafkaUnavailable: no broker answered in time.
        """
        from resources.kafka import watermarks

        settings = self.load(timeout_seconds)
        return watermarks(settings, settings.topic)


class KeysResource(dg.ConfigurableResource):
    """The key store, as an identity that may open keys: `developing`, or `learning`."""

    settings: dg.ResourceDependency[SettingsResource]
    identity: Acting = Field(default="developing", description="Identity of the policy that opens.")

    def open(self) -> "KeyStore":
        """A handle on the key store; a key that the identity may not have raises KeyForbidden."""
        from resources.keys import open_key_store

        return open_key_store(self.settings.load().acting_as(self.identity))


class StatusResource(dg.ConfigurableResource):
    """The projection `image_status` in PostgreSQL."""

    settings: dg.ResourceDependency[SettingsResource]

    def open(self) -> "ImageStatus":
        """A handle on the projection; connects when used."""
        from resources.postgres import ImageStatus

        return ImageStatus(self.settings.load().postgres_dsn)


class RetentionResource(dg.ConfigurableResource):
    """The purge of days that are over, as the identity `upkeep`."""

    settings: dg.ResourceDependency[SettingsResource]

    @contextmanager
    def open(self) -> "Iterator[Purge]":
        """A purge by this machine's clock and PostgreSQL's; nothing is read before it is asked."""
        from resources.lake import open_lake
        from resources.postgres import ImageStatus
        from resources.purging import Purge

        settings = self.settings.load().acting_as("upkeep")
        with ImageStatus(settings.postgres_dsn) as status:
            yield Purge(settings, open_lake(settings), status)

    def proof(self) -> "Proof":
        """The search of this machine's disks."""
        from resources.lake import open_lake
        from resources.purge_proof import Proof

        settings = self.settings.load().acting_as("upkeep")
        return Proof(settings, open_lake(settings))


class ComputeResource(dg.ConfigurableResource):
    """Where the work on images runs: processes with a memory and a time limit, or a cluster."""

    settings: dg.ResourceDependency[SettingsResource]
    identity: Acting = Field(default="developing", description="Identity of the policy that opens there.")

    def open(self) -> "DecodePool":
        """A pool of decoding processes; close it after use."""
        from resources.decoding import DecodePool

        return DecodePool(self.settings.load())

    def elsewhere(
        self, context: dg.OpExecutionContext | dg.AssetExecutionContext, lake: "Lake", asset: str
    ) -> "Compute | None":
        """The backend that configuration names for an asset; None for this process and its decoding processes.

        Raises:
            ComputeRefused: it is not installed here; says how to get it.
        """
        from resources.compute import far_compute

        return far_compute(self.settings.load().acting_as(self.identity), lake, asset, context)


class RegistryResource(dg.ConfigurableResource):
    """The registry of models, in MLflow."""

    settings: dg.ResourceDependency[SettingsResource]

    def open(self) -> "Registry":
        """A handle on the registry; asks MLflow when used."""
        from resources.mlflow_registry import open_registry

        return open_registry(self.settings.load())


class ShopResource(dg.ConfigurableResource):
    """The shop's database, as the login of the shop's assets: it reads what they are made of, and nothing else."""

    settings: dg.ResourceDependency[SettingsResource]

    def dsn(self) -> str:
        """The libpq connection string.

        Raises:
            ShopRefused: the setting shop_dsn is empty.
        """
        from resources.shop import ShopRefused

        found = self.settings.load().shop_dsn
        if not found:
            raise ShopRefused(
                "There is no connection string of the shop's database: set shop_dsn (DARKROOM_SHOP_DSN) to a login "
                "that the policy calls `shop`."
            )
        return found


class EnforcementResource(dg.ConfigurableResource):
    """The points where the policy that this distribution carries is enforced."""

    settings: dg.ResourceDependency[SettingsResource]

    def digest(self) -> str:
        """Which policy this is."""
        from access.policy import load_policy

        return load_policy().digest

    def compare(self) -> "Iterator[tuple[PointName, list[str] | PlatformFailure]]":
        """What differs at each point that the settings reach, as sentences; or why it cannot be asked."""
        from access.policy import load_policy
        from resources.enforcement import everybody_of, points
        from resources.failures import PlatformFailure

        settings = self.settings.load()
        dsn = settings.policy_dsn or settings.shop_dsn
        for point in points(settings, load_policy(), dsn, everybody_of(settings)):
            try:
                yield point.name, list(point.differences())
            except PlatformFailure as error:
                yield point.name, error

    def apply(self) -> list[str]:
        """Put PostgreSQL to the policy, where there is a login to apply with (`policy_dsn`). Returns what was done.

        Raises:
            RightsUnavailable, RightsRefused: see `PostgresRoles.apply`.
        """
        from access.policy import load_policy
        from resources.postgres_roles import PostgresRoles

        dsn = self.settings.load().policy_dsn
        return [change.sentence for change in PostgresRoles(dsn, load_policy()).apply()] if dsn else []

    def held(self) -> list[tuple[str, str, int]]:
        """How many rights the policy gives: holder, enforcement point, count."""
        from collections import Counter

        from access.explain import grants
        from access.policy import load_policy
        from resources.topics import topic_settings

        given = grants(load_policy(), topic_settings(self.settings.load()))
        counted = Counter((grant.holder, str(grant.point)) for grant in given)
        return [(holder, point, count) for (holder, point), count in sorted(counted.items())]


def resource_defs(overrides: dict[str, Any] | None = None) -> dict[str, dg.ConfigurableResource]:
    """All resources by the names that assets and sensors use, on one set of settings."""
    settings = SettingsResource(overrides=overrides or {})
    return {
        "settings": settings,
        "lake": LakeResource(settings=settings),
        "kafka": KafkaResource(settings=settings),
        "keys": KeysResource(settings=settings),
        "learning_keys": KeysResource(settings=settings, identity="learning"),
        "status": StatusResource(settings=settings),
        "compute": ComputeResource(settings=settings),
        "learning_compute": ComputeResource(settings=settings, identity="learning"),
        "registry": RegistryResource(settings=settings),
        "enforcement": EnforcementResource(settings=settings),
        "retention": RetentionResource(settings=settings),
        "shop": ShopResource(settings=settings),
    }
