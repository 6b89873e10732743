"""Settings of the identities that a process acts as beside its own: those that may open, and that may purge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.settings_json import FROM_JSON

Acting = Literal["developing", "learning", "upkeep"]
"""Identities of the policy that parts of Dagster's runs act as."""


class ActingIdentity(BaseModel):
    """What differs where a process acts as another identity; what is left out is as the process has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kafka_certificate: Path | None = None
    kafka_key: Path | None = None
    postgres_dsn: str | None = None
    keys_profile: str | None = None


class IdentitySettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    identities: Annotated[dict[Acting, ActingIdentity], FROM_JSON] = Field(
        default_factory=dict,
        description="What differs where a run acts as `developing`, `learning` or `upkeep`: kafka_certificate, "
        "kafka_key, postgres_dsn, keys_profile. The stack gives its own to the code server. A wrong one, or none where "
        "the process's own identity may not open keys: runs that open fail, and the sentence says who may.",
    )
