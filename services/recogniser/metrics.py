"""What the lane counts, for Prometheus: outcomes, times, what is under way. No id and no answer is in any label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

FAILED = "failed"
"""The outcome of a record that met a bug."""

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_REQUEST_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)


class Metrics:
    """One set of counters for one instance, in a registry of its own."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.records = Counter(
            "darkroom_recogniser_records",
            "Records by what became of them: named, no_champion, not_admitted, failed, or why the image did not open.",
            ["outcome"],
            registry=registry,
        )
        self.answers = Counter(
            "darkroom_recogniser_answers", "Answers that the broker keeps, by model.", ["model"], registry=registry
        )
        self.seconds = Histogram(
            "darkroom_recogniser_answer_seconds",
            "From the broker's time of an image's record to the acknowledgement of its answers.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.retries = Counter(
            "darkroom_recogniser_retries",
            "Tries that failed for want of keys, decoding or kafka, and were made again.",
            ["what"],
            registry=registry,
        )
        self.rebalances = Counter(
            "darkroom_recogniser_rebalances",
            "Partitions that came and went.",
            ["way"],
            registry=registry,
        )
        self.pauses = Counter(
            "darkroom_recogniser_pauses", "Times that partitions were paused for want of room.", registry=registry
        )
        self.champion = Gauge(
            "darkroom_recogniser_champion_version", "Version that scores now.", ["model"], registry=registry
        )
        self.champion_problem = Gauge(
            "darkroom_recogniser_champion_problem",
            "1 where the newest champion is not the one that scores, or MLflow does not say.",
            ["model"],
            registry=registry,
        )
        # The name that services.door.edge.Edge counts under.
        self.requests = Histogram(
            "darkroom_recogniser_request_seconds",
            "Requests by route and status.",
            ["method", "route", "status"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )

    def show(self, images: Callable[[], float], held: Callable[[], float], behind: Callable[[], float]) -> None:
        """Have what is under way asked at each scrape: images, their bytes, and records that wait at the broker."""
        for name, text, ask in (
            ("images_under_way", "Images that were read and not answered yet.", images),
            ("held_bytes", "Bytes of their records.", held),
            ("behind", "Records of the assigned partitions that are still to be read.", behind),
        ):
            Gauge(f"darkroom_recogniser_{name}", text, registry=self.registry).set_function(ask)

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)
