"""Every setting of Darkroom, read in one place.

Values come from, first to last: arguments, the environment (`DARKROOM_<NAME>`), one TOML file
(`DARKROOM_CONFIG`, else `darkroom.toml` in `DARKROOM_HOME`), the defaults in `settings_*.py`, a part each. Nothing is
read at import; `load_settings()` reads, anew each time. A secret is never a setting: a setting names the file that
holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from resources.failures import PermanentFailure
from resources.settings_compute import ComputeSettings
from resources.settings_databases import DatabaseSettings
from resources.settings_identities import Acting, IdentitySettings
from resources.settings_images import MEBIBYTE, ImageSettings
from resources.settings_kafka import KafkaSettings
from resources.settings_keeping import KeepingSettings
from resources.settings_keys import KeySettings
from resources.settings_lake import LakeSettings
from resources.settings_models import ModelSettings
from resources.settings_people import PeopleSettings

__all__ = ["MEBIBYTE", "Settings", "SettingsError", "load_settings"]


class SettingsError(PermanentFailure):
    """A setting is unknown or has a value that cannot be; the message lists what would be valid."""


class Settings(
    BaseSettings,
    # The page of settings lists their parts from the last of these to the first.
    IdentitySettings,
    PeopleSettings,
    KeepingSettings,
    KeySettings,
    ModelSettings,
    ComputeSettings,
    ImageSettings,
    DatabaseSettings,
    KafkaSettings,
    LakeSettings,
):
    """The settings of one Darkroom process. Each description says what a wrong value does."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", extra="forbid", frozen=True, env_ignore_empty=True)

    def acting_as(self, name: Acting) -> Settings:
        """The settings of a part of this process that acts as another identity; as they are where none is named."""
        given = self.identities.get(name)
        if given is None:
            return self
        return self.model_copy(update={**given.model_dump(exclude_none=True), "identities": {}})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment; the TOML file is added by `load_settings`, which knows its path."""
        toml = settings_cls.model_config.get("toml_file")
        extra = (TomlConfigSettingsSource(settings_cls, toml),) if toml else ()
        return init_settings, env_settings, *extra


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of this process.

    Args:
        overrides: values that win over environment and file, by setting name.

    Raises:
        SettingsError: an unknown setting in the file or arguments, or a value that cannot be; says which, what was
            given, and the valid names.
    """
    named = os.environ.get("DARKROOM_CONFIG")
    home = Path(
        (overrides or {}).get("home") or os.environ.get("DARKROOM_HOME") or Settings.model_fields["home"].default
    )
    path = Path(named) if named else home / "darkroom.toml"
    if named and not path.is_file():
        raise SettingsError(
            f"DARKROOM_CONFIG names {path}, and there is no such file. Write it, or unset DARKROOM_CONFIG."
        )
    try:
        return (_reading(path) if path.is_file() else Settings)(**dict(overrides or {}))
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None


@cache
def _reading(path: Path) -> type[Settings]:
    """Settings that look into a file too. Kept, for pydantic takes a tenth of a second to make a class."""
    config = cast("SettingsConfigDict", {**Settings.model_config, "toml_file": path})
    return type("Settings", (Settings,), {"model_config": config, "__module__": __name__})


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            valid = ", ".join(sorted(Settings.model_fields))
            lines.append(f"{name} is no setting of Darkroom. Valid ones: {valid}.")
            continue
        field = Settings.model_fields.get(name.split(".")[0])
        meaning = f" ({field.description})" if field is not None else ""
        lines.append(f"{name} = {problem.get('input')!r}: {problem['msg']}{meaning}")
    source = f"arguments, environment (DARKROOM_*), {path}" if path.is_file() else "arguments, environment (DARKROOM_*)"
    return f"Settings refused, read from {source}:\n" + "\n".join(lines)
