"""Settings of how long images are kept, and of the proof that they are gone."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from resources.settings_json import FROM_JSON


class KeepingSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    retention_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=7,
        description="Days on which images and what is of a person are kept, their first among them; then they are "
        "purged, everywhere and for good. It is the topics' retention.ms, too, set by `darkroom up`. Too high: disks "
        "must hold so many days. Too low: at the next hour images are destroyed that somebody still wanted, and an "
        "outage of landing that is longer loses records.",
    )

    searched: Annotated[dict[str, str], FROM_JSON] = Field(
        default_factory=dict,
        description="Folders of this machine, by a name, that a purge's proof searches for bytes that should be gone: "
        "`lake`, `kafka`, `postgres` and others. The stack names its own; empty: there is no proof, and the check says "
        "so. A wrong one, or none for the lake: the check is red, with the reason.",
    )
