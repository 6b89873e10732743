"""The topics of the platform, and the table that each lands in: one list for all who make, grant, land or repair."""

from __future__ import annotations

from dataclasses import dataclass

from resources.settings import Settings
from transforms.tables import LABEL_CORRECTIONS, RAW_IMAGES, RECOGNISED_STREAM, TableSpec


@dataclass(frozen=True)
class Topic:
    """A topic's name on the broker, and its bronze table."""

    name: str
    table: TableSpec


def images_topic(settings: Settings) -> Topic:
    """What the doors and other producers send."""
    return Topic(settings.topic, RAW_IMAGES)


def labels_topic(settings: Settings) -> Topic:
    """Corrected labels."""
    return Topic(settings.labels_topic, LABEL_CORRECTIONS)


def recognised_topic(settings: Settings) -> Topic:
    """Answers of the sub-second lane."""
    return Topic(settings.recognised_topic, RECOGNISED_STREAM)


def topics(settings: Settings) -> tuple[Topic, ...]:
    """Every topic, the images' first."""
    return images_topic(settings), labels_topic(settings), recognised_topic(settings)


def topic_settings(settings: Settings) -> dict[str, str]:
    """The settings that name a topic, as the policy refers to them."""
    return {
        "topic": settings.topic,
        "labels_topic": settings.labels_topic,
        "recognised_topic": settings.recognised_topic,
    }


def topic_named(settings: Settings, name: str) -> Topic:
    """The topic of that name.

    Raises:
        ValueError: it is none of the platform's; lists those.
    """
    found = {topic.name: topic for topic in topics(settings)}
    if name not in found:
        raise ValueError(f"The platform has no topic {name!r}. Valid ones: {', '.join(found)}.")
    return found[name]
