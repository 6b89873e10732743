"""Settings of the key store, and of the customer-managed key."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from resources.settings_home import HomeSettings


class KeySettings(HomeSettings):
    """A part of `resources.settings.Settings`."""

    keys: str = Field(
        default="",
        description="Root of the key store; empty means HOME/keys. Another root knows none of the old keys: "
        "every image sealed before is unreadable until it is put back.",
    )
    keys_provider: Literal["local", "aws-kms"] = Field(
        default="local",
        description="Where the customer-managed key lives: 'local' keeps it in the key store, where whoever reads the "
        "folder has it; 'aws-kms' asks AWS KMS, and stops where that is away. An unknown one stops the process at "
        "start.",
    )
    keys_kms_key: str = Field(
        default="",
        description="ARN, id or alias of the customer-managed key in AWS KMS, for the provider aws-kms. A wrong one: "
        "nothing is opened or sealed, and the sentence names it.",
    )
    kms_endpoint: str = Field(
        default="",
        description="URL of KMS where it is not the region's own, such as a VPC endpoint. A wrong one: nothing is "
        "opened or sealed until KMS answers; doors answer 503.",
    )
    keys_profile: str = Field(
        default="",
        description="Profile of AWS's configuration file whose role reaches the key store and KMS; empty: the role of "
        "the process. An unknown one: nothing is opened or sealed, and the sentence names it.",
    )
    key_cache_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=30.0,
        description="How long an opened data key is kept in memory. Too high: so long does a destroyed key still open. "
        "Too low: the key store is read more often, at 0 for every key.",
    )

    @property
    def keys_root(self) -> str:
        """Root URI or folder of the key store."""
        return self.keys or str(self.home.absolute() / "keys")

    @model_validator(mode="after")
    def _kms_has_a_key(self) -> Self:
        if self.keys_provider == "aws-kms" and not self.keys_kms_key:
            raise ValueError("keys_provider is aws-kms, and keys_kms_key names no key: set it to an ARN or alias/NAME")
        return self
