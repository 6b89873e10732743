"""The model registry as learning and scoring see it: six questions, what they answer, and how they fail.

`resources.mlflow_registry.ModelRegistry` answers them from MLflow. A registry that was emptied has no champion, which
is a state and no error. Who moved the alias `champion`, when and why is kept at the version, one note a move, and never
overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from resources.failures import PermanentFailure, TransientFailure

CHAMPION, CHALLENGER = "champion", "challenger"
MOVED = "darkroom.moved."
"""Begin of the tags that keep the moves of aliases."""


class RegistryAway(TransientFailure):
    """MLflow did not answer, or could not reach its database. Nothing was changed, or the change will show."""


class RegistryRefused(PermanentFailure):
    """MLflow answered and refused what was asked."""


class ModelMissing(PermanentFailure):
    """No such model, version, or file of it; lists what there is."""


class ModelBroken(PermanentFailure):
    """The file of a version is not the one that was registered."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model. `tags` are what was noted when it was registered."""

    model: str
    version: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """What rows scored by it carry: version and run, for a registry that was emptied counts from 1 again."""
        return f"{self.version}@{self.run_id[:8]}"

    @property
    def moves(self) -> list[dict[str, str]]:
        """Each move of an alias to this version, oldest first: when, who, why, alias, the version it was at before."""
        found = [json.loads(value) for name, value in self.tags.items() if name.startswith(MOVED)]
        return sorted(found, key=lambda move: move["when"])


@dataclass(frozen=True)
class Learned:
    """What a training run registers.

    Attributes:
        model: name of the registered model.
        onnx: the file.
        parameters, metrics: of the run.
        tags: noted at run and version.
        pictures: PNG files by name.
        texts: text files by name.
        description: of the version, Markdown.
    """

    model: str
    onnx: bytes
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


class Registry(Protocol):
    """What learning, scoring and the command ask of a registry; `ModelRegistry` is it."""

    def register(self, learned: Learned) -> Version:
        """Log a run and register its model as a new version, alias `challenger`."""
        ...

    def at(self, model: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is no such model or alias."""
        ...

    def version(self, model: str, version: str) -> Version:
        """One version; raises ModelMissing."""
        ...

    def versions(self, model: str) -> list[Version]:
        """All versions, newest first; none where there is no such model."""
        ...

    def move(self, to: Version, alias: str, *, who: str, why: str) -> Version:
        """Point an alias to a version, and note who did it and why."""
        ...

    def load(self, version: Version) -> bytes:
        """The ONNX file of a version; raises ModelMissing, ModelBroken."""
        ...
