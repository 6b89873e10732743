"""A registry without MLflow: it passes the same tests as the real one (test_registry.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from resources.mlflow_registry import SHA256
from resources.registry import CHALLENGER, MOVED, Learned, ModelBroken, ModelMissing, RegistryAway, Version


@dataclass
class RegistryInMemory:
    """Versions, aliases and files in dictionaries; `away` makes every question fail as a server does that is away."""

    away: bool = False
    made: dict[str, list[Version]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    learned: list[Learned] = field(default_factory=list)
    clock: int = 0

    def register(self, learned: Learned) -> Version:
        self._ask()
        number = str(len(self.made.setdefault(learned.model, [])) + 1)
        tags = {**learned.tags, SHA256: hashlib.sha256(learned.onnx).hexdigest()}
        self.made[learned.model].append(Version(learned.model, number, f"run-{number}", self._now(), (), tags))
        self.files[f"{learned.model}/{number}"] = learned.onnx
        self.learned.append(learned)
        self.aliases.setdefault(learned.model, {})[CHALLENGER] = number
        return self.version(learned.model, number)

    def at(self, model: str, alias: str) -> Version | None:
        self._ask()
        number = self.aliases.get(model, {}).get(alias)
        return None if number is None else self.version(model, number)

    def version(self, model: str, version: str) -> Version:
        for one in self.versions(model):
            if one.version == version:
                return one
        valid = ", ".join(one.version for one in self.versions(model)) or "none: train first"
        raise ModelMissing(f"no version {version} of {model}. Valid ones: {valid}.")

    def versions(self, model: str) -> list[Version]:
        self._ask()
        told: Mapping[str, str] = self.aliases.get(model, {})
        return [
            replace(one, aliases=tuple(sorted(name for name, number in told.items() if number == one.version)))
            for one in reversed(self.made.get(model, []))
        ]

    def move(self, to: Version, alias: str, *, who: str, why: str) -> Version:
        before = self.at(to.model, alias)
        when = f"{self._now():%Y-%m-%dT%H:%M:%S.%fZ}"
        told = {"when": when, "who": who, "why": why, "alias": alias, "before": before.version if before else ""}
        versions = self.made[to.model]
        at = next(index for index, one in enumerate(versions) if one.version == to.version)
        versions[at] = replace(versions[at], tags={**versions[at].tags, f"{MOVED}{when}": json.dumps(told)})
        self.aliases[to.model][alias] = to.version
        return self.version(to.model, to.version)

    def load(self, version: Version) -> bytes:
        self._ask()
        content = self.files.get(f"{version.model}/{version.version}")
        if content is None:
            raise ModelMissing(f"version {version.version} of {version.model} has no file any more")
        if hashlib.sha256(content).hexdigest() != version.tags[SHA256]:
            raise ModelBroken(f"the file of version {version.version} is another one")
        return content

    def empty(self) -> None:
        """As if MLflow's database had been made anew."""
        self.made, self.aliases, self.files = {}, {}, {}

    def _ask(self) -> None:
        if self.away:
            raise RegistryAway("MLflow at http://127.0.0.1:1 did not do it: connection refused.")

    def _now(self) -> datetime:
        self.clock += 1
        return datetime.fromtimestamp(1_772_700_000 + self.clock, UTC)
