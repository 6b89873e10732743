"""What the upload application stands on beside what every door does: tables of the lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from resources.settings import Settings
from services.door import wiring
from services.door.budget import Budget
from services.door.metrics import Metrics
from services.door.wiring import Door, Edges
from services.uploads.lake_rows import LakeRows, Rows
from transforms.tables import PROCESSED_IMAGES, RECOGNISED_IMAGES, TableSpec

COLUMNS = {
    PROCESSED_IMAGES.name: ("day", "key", "thumbnail"),
    RECOGNISED_IMAGES.name: (
        *("id", "day", "pseudonym", "key"),
        *("model", "model_version", "label", "probability", "scored_at"),
    ),
}
"""What the application reads of each table."""


@dataclass(frozen=True)
class UploadEdges(Edges):
    """Everything outside the application."""

    rows: Callable[[TableSpec], Rows]


def connect(settings: Settings) -> UploadEdges:
    """The real edges; see `services.door.wiring.connect`."""
    shared = wiring.connect(settings)
    return UploadEdges(**vars(shared), rows=lambda spec: LakeRows(settings, spec, COLUMNS[spec.name]))


class UploadDoor(Door):
    """The application's parts while it runs; the lake is opened at the first question, which blocks."""

    def __init__(
        self, settings: Settings, edges: UploadEdges, metrics: Metrics, budget: Budget, now: Callable[[], datetime]
    ) -> None:
        super().__init__(settings, edges, metrics, budget, now)
        self._rows = edges.rows

    @cached_property
    def processed(self) -> Rows:
        """Rows of developed images."""
        return self._rows(PROCESSED_IMAGES)

    @cached_property
    def recognised(self) -> Rows:
        """Rows of what models named images."""
        return self._rows(RECOGNISED_IMAGES)
