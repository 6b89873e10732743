"""How far the images have come: what the broker holds, what has landed, what was developed, by partition.

Why: the sensor, the stream's observation, the checks and whoever waits for a demo ask the same question and must get
the same answer. Mechanism: Delta transaction identifiers, which are written by the same commit as the rows they speak
of (docs/landing-protocol.md); offsets committed to Kafka play no part. Limits: watermarks and identifiers are read
one after the other, so that a number may be older than the next by some milliseconds, never newer than the truth it
names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transforms.landing_protocol import Position, TopicState, partition_app_id
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

if TYPE_CHECKING:
    from resources.lake import Lake
    from resources.settings import Settings
    from resources.topics import Topic


@dataclass(frozen=True)
class Progress:
    """Offsets by partition of one topic: watermarks, the last landed, the last developed; absent means none yet.

    `bronze_version` is bronze's Delta version, -1 where there is no table: it moves also where an identifier that
    speaks of no partition does.
    """

    topic: str
    topic_id: str
    low: Mapping[int, int]
    high: Mapping[int, int]
    landed: Mapping[int, int]
    developed: Mapping[int, int]
    bronze_version: int = -1

    def to_land(self) -> int:
        """Offsets between the lake and the watermarks; holes in the log count, for only reading tells them apart."""
        return sum(max(0, high - max(self.low.get(p, 0), self.landed.get(p, -1) + 1)) for p, high in self.high.items())

    def to_develop(self) -> int:
        """Offsets landed and not yet developed."""
        start = {p: self.developed.get(p, self.low.get(p, 0) - 1) for p in self.landed}
        return sum(max(0, last - start[p]) for p, last in self.landed.items())

    def held(self) -> int:
        """Offsets between the low and the high watermarks."""
        return sum(high - self.low.get(p, 0) for p, high in self.high.items())

    def produced(self) -> int:
        """Offsets given out since the topic was made: the sum of the high watermarks."""
        return sum(self.high.values())


def develop_app_id(topic: str, partition: int, topic_id: str) -> str:
    """Application id under which both derived tables keep the last offset developed."""
    return f"develop-{partition_app_id(topic, partition, topic_id)}"


def developing_of(at: Position) -> str:
    """The same, of a position."""
    return develop_app_id(at.topic, at.partition, at.topic_id)


def featuring_of(at: Position) -> str:
    """Application id under which image_features keeps the last offset whose features are there."""
    return f"features-{at.app_id}"


def recognising_of(model: str, mark: str) -> Callable[[Position], str]:
    """Application ids under which recognised_images keeps the last offset that a model's version has scored."""
    return lambda at: f"recognise-{model}-{mark}-{at.app_id}"


def merging_of(at: Position) -> str:
    """Application id under which recognised_images keeps the last answer of the sub-second lane that it took in."""
    return f"merge-{at.app_id}"


def read_progress(lake: Lake, state: TopicState) -> Progress:
    """Read the identifiers of bronze and of both derived tables for what the broker holds.

    A table that is not there yet counts as nothing landed or developed. Developing has come as far as the slower of its
    two tables.

    Raises:
        TransientFailure: the lake is away.
    """
    partitions = sorted(state.partitions)
    landing = {p: partition_app_id(state.topic, p, state.topic_id) for p in partitions}
    developing = {p: develop_app_id(state.topic, p, state.topic_id) for p in partitions}
    landed, version = _identifiers(lake, RAW_IMAGES.name, landing)
    processed, _ = _identifiers(lake, PROCESSED_IMAGES.name, developing)
    quarantined, _ = _identifiers(lake, QUARANTINED_IMAGES.name, developing)
    return Progress(
        topic=state.topic,
        topic_id=state.topic_id,
        low={p: low for p, (low, _) in state.partitions.items()},
        high={p: high for p, (_, high) in state.partitions.items()},
        landed=landed,
        developed={p: min(processed[p], quarantined[p]) for p in partitions if p in processed and p in quarantined},
        bronze_version=version,
    )


def offsets_to_land(settings: Settings, lake: Lake, topic: Topic) -> int:
    """Offsets of a topic between its table and the watermarks; holes in the log count.

    Raises:
        TransientFailure: broker or lake are away.
        TopicMissing: the broker has no such topic.
    """
    from resources.kafka import watermarks

    state = watermarks(settings, topic.name)
    names = {p: partition_app_id(state.topic, p, state.topic_id) for p in state.partitions}
    landed, _ = _identifiers(lake, topic.table.name, names)
    return sum(max(0, high - max(low, landed.get(p, -1) + 1)) for p, (low, high) in state.partitions.items())


def _identifiers(lake: Lake, table: str, names: Mapping[int, str]) -> tuple[dict[int, int], int]:
    from resources.lake import TableMissing

    try:
        handle = lake.open(table)
    except TableMissing:
        return {}, -1
    found = {partition: lake.identifier(handle, name) for partition, name in names.items()}
    return {partition: last for partition, last in found.items() if last is not None}, handle.version()
