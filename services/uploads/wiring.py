"""What the upload application stands on beside what every door does: the lake, for thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from resources.settings import Settings
from services.door import wiring
from services.door.budget import Budget
from services.door.metrics import Metrics
from services.door.wiring import Door, Edges
from services.uploads.thumbnails import LakeThumbnails, Thumbnails


@dataclass(frozen=True)
class UploadEdges(Edges):
    """Everything outside the application."""

    thumbnails: Callable[[], Thumbnails]


def connect(settings: Settings) -> UploadEdges:
    """The real edges; see `services.door.wiring.connect`."""
    shared = wiring.connect(settings)
    return UploadEdges(
        shared.keys, shared.deliverer, shared.status, shared.verifier, thumbnails=lambda: LakeThumbnails(settings)
    )


class UploadDoor(Door):
    """The application's parts while it runs."""

    def __init__(
        self, settings: Settings, edges: UploadEdges, metrics: Metrics, budget: Budget, now: Callable[[], datetime]
    ) -> None:
        super().__init__(settings, edges, metrics, budget, now)
        self.labels = Counter(
            "darkroom_uploads_labels",
            "Corrections of labels by what became of them: accepted, or the problem's code.",
            ["outcome"],
            registry=metrics.registry,
        )
        self._open = edges.thumbnails
        self._thumbnails: Thumbnails | None = None

    def thumbnails(self) -> Thumbnails:
        """The lake, opened at the first question. Blocks."""
        if self._thumbnails is None:
            self._thumbnails = self._open()
        return self._thumbnails
