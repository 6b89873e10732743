"""What a door counts, for Prometheus: outcomes, bytes, times. No id or name is in any label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.door.intake import Accepted
from services.door.problems import Problem

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """One set of counters for one application; each has a registry of its own, so that tests may have several.

    Args:
        door: which one; every name begins with `darkroom_<door>_`.
        held: bytes of images under way, asked at each scrape.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, door: str, held: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.images = Counter(
            f"darkroom_{door}_images",
            "Images by what became of them at the door: accepted, or the problem's code.",
            ["outcome"],
            registry=self.registry,
        )
        self.bytes = Counter(f"darkroom_{door}_accepted_bytes", "Bytes of acknowledged images.", registry=self.registry)
        self.acknowledged = Histogram(
            f"darkroom_{door}_acknowledgement_seconds",
            "From handing a sealed image to the producer to the broker's acknowledgement.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests = Histogram(
            f"darkroom_{door}_request_seconds",
            "Requests by route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.states_dropped = Counter(
            f"darkroom_{door}_states_dropped",
            "States that PostgreSQL did not take; landing fills them in.",
            registry=self.registry,
        )
        Gauge(
            f"darkroom_{door}_held_bytes", "Bytes of images being read or waiting for Kafka.", registry=self.registry
        ).set_function(held)

    def count(self, outcome: Accepted | Problem) -> None:
        """Count what became of one image."""
        if isinstance(outcome, Problem):
            self.images.labels(outcome.kind.code).inc()
            return
        self.images.labels("accepted").inc()
        self.bytes.inc(outcome.bytes)
        self.acknowledged.observe(outcome.seconds)

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)
