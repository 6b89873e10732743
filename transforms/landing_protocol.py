"""The landing protocol's decisions, pure: identifiers, where to go on, what is lost, which day a record has.

A lander keeps its position inside the Delta table: one transaction identifier per Kafka partition, written by the same
commit as the rows. This module names those identifiers and decides, from them and from what the broker holds, where
each partition goes on and whether records are gone that never landed. docs/landing-protocol.md says it in words, and
tests/vectors/landing.json holds other languages to it.

Limits: Delta keeps identifiers for ever and offers no list of them, so a topic's id is kept as two identifiers of its
own (a topic id has 128 bits, an identifier's version 64).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

_TOPIC_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_DAY = re.compile(rb"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, order=True)
class Position:
    """One partition of one topic, as long as that topic lives: a topic made anew has other positions."""

    topic: str
    partition: int
    topic_id: str

    @property
    def app_id(self) -> str:
        """Delta application id whose version is the last offset landed."""
        return partition_app_id(self.topic, self.partition, self.topic_id)


@dataclass(frozen=True)
class TopicState:
    """What the broker holds of one topic.

    `partitions` maps a partition to (low, high): the oldest offset that can be read, and the offset that the next
    readable record will have. With a transaction open, high is the last stable offset.
    """

    topic: str
    topic_id: str
    partitions: Mapping[int, tuple[int, int]]


class LossKind(StrEnum):
    """How records came to be lost; stable, for it is written into commits."""

    DELETED = "deleted"
    """The broker deleted records before they landed (retention, or by hand)."""
    RECREATED = "recreated"
    """The topic was deleted and made anew; what had not landed of the old one is gone."""
    TRUNCATED = "truncated"
    """The broker's log ends before what has landed: it lost its tail, and would give those offsets to other records."""


@dataclass(frozen=True)
class Loss:
    """Records of one partition that can never land: offsets first to last, last None where nobody knows."""

    kind: LossKind
    topic: str
    partition: int
    first: int
    last: int | None
    old_topic_id: str
    new_topic_id: str

    @property
    def sentence(self) -> str:
        """The loss in words."""
        where = f"{self.topic}-{self.partition}"
        if self.kind is LossKind.DELETED:
            return (
                f"{where}: offsets {self.first} to {self.last} were deleted before they landed "
                f"(topic id {self.new_topic_id})"
            )
        if self.kind is LossKind.RECREATED:
            return (
                f"{where}: the topic was made anew (id {self.old_topic_id}, now {self.new_topic_id}); "
                f"offsets from {self.first} on of the old one that had not landed are gone"
            )
        return (
            f"{where}: offsets {self.first} to {self.last} have landed, and the broker's log now ends before them "
            f"(topic id {self.new_topic_id}): it lost its tail"
        )


@dataclass(frozen=True)
class Plan:
    """Where each partition goes on; or the losses, and then nothing may be landed.

    `register` holds identifiers that have to be committed before the first record (empty when the topic is known).
    """

    starts: Mapping[int, int]
    losses: tuple[Loss, ...]
    register: Mapping[str, int]


def partition_app_id(topic: str, partition: int, topic_id: str) -> str:
    """Application id of a partition's identifier: `<topic>-<partition>-<topic id>`; the topic id has 22 characters.

    Raises:
        ValueError: the topic id is not Kafka's 22 characters of URL-safe base64, or the partition is negative.
    """
    if not _TOPIC_ID.fullmatch(topic_id):
        raise ValueError(f"Topic id {topic_id!r} is not 22 characters of A-Z, a-z, 0-9, _ and -, as Kafka prints it.")
    if partition < 0:
        raise ValueError(f"Partition {partition} is negative; Kafka counts from 0.")
    return f"{topic}-{partition}-{topic_id}"


def generation_app_ids(topic: str) -> tuple[str, str]:
    """Application ids that keep the topic's id: its upper and its lower 64 bits."""
    return f"{topic}-generation-high", f"{topic}-generation-low"


def generation_of(topic: str, topic_id: str) -> dict[str, int]:
    """Identifiers that say which topic id is landed: each half a signed 64-bit number, as in Kafka's Uuid."""
    partition_app_id(topic, 0, topic_id)
    raw = base64.urlsafe_b64decode(topic_id + "==")
    high, low = generation_app_ids(topic)
    return {high: int.from_bytes(raw[:8], "big", signed=True), low: int.from_bytes(raw[8:], "big", signed=True)}


def topic_id_of(high: int | None, low: int | None) -> str | None:
    """The topic id out of its two identifiers; None when the table knows none."""
    if high is None or low is None:
        return None
    raw = high.to_bytes(8, "big", signed=True) + low.to_bytes(8, "big", signed=True)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def plan(
    state: TopicState, known_topic_id: str | None, landed: Mapping[int, int], landed_of_known: Mapping[int, int]
) -> Plan:
    """Decide where each partition goes on.

    Args:
        state: what the broker holds.
        known_topic_id: the topic id that the table says is landed; None for a table that never landed this topic.
        landed: last offset landed by partition, of the broker's topic id.
        landed_of_known: the same of `known_topic_id` (used only to name a loss when that is another one).
    """
    if known_topic_id is None:
        first_commit = dict(generation_of(state.topic, state.topic_id))
        first_commit.update(_before(state, {p: low for p, (low, _) in state.partitions.items()}))
        return Plan({p: max(low, landed.get(p, -1) + 1) for p, (low, _) in state.partitions.items()}, (), first_commit)
    if known_topic_id != state.topic_id:
        partitions = sorted(set(state.partitions) | set(landed_of_known))
        losses = tuple(
            Loss(
                LossKind.RECREATED, state.topic, p, landed_of_known.get(p, -1) + 1, None, known_topic_id, state.topic_id
            )
            for p in partitions
        )
        return Plan({}, losses, {})
    starts: dict[int, int] = {}
    losses = []
    for p, (low, high) in sorted(state.partitions.items()):
        start = landed.get(p, -1) + 1
        if low > start:
            losses.append(Loss(LossKind.DELETED, state.topic, p, start, low - 1, known_topic_id, state.topic_id))
        elif start > high:
            losses.append(Loss(LossKind.TRUNCATED, state.topic, p, high, start - 1, known_topic_id, state.topic_id))
        else:
            starts[p] = start
    return Plan({}, tuple(losses), {}) if losses else Plan(starts, (), {})


def accepted(state: TopicState, losses: tuple[Loss, ...]) -> dict[str, int]:
    """Identifiers with which landing goes on behind accepted losses.

    Raises:
        ValueError: a log was truncated; its offsets are taken by other records, so no identifier can be right.
    """
    if any(loss.kind is LossKind.TRUNCATED for loss in losses):
        raise ValueError("A truncated log cannot be accepted: offsets that have landed are given out again.")
    if any(loss.kind is LossKind.RECREATED for loss in losses):
        identifiers = generation_of(state.topic, state.topic_id)
        identifiers.update(_before(state, {p: low for p, (low, _) in state.partitions.items()}))
        return identifiers
    return _before(state, {loss.partition: state.partitions[loss.partition][0] for loss in losses})


def _before(state: TopicState, lows: Mapping[int, int]) -> dict[str, int]:
    """Identifiers that make partitions start at `lows`; none where that is 0, which is what no identifier means."""
    return {partition_app_id(state.topic, p, state.topic_id): low - 1 for p, low in sorted(lows.items()) if low > 0}


def record_day(header: bytes | None, appended: date) -> date:
    """Day of a record: that of its first header `day` if within a day of the (UTC) day of append, else the latter.

    Args:
        header: value of the header, `YYYY-MM-DD` in ASCII; anything else counts as none.
        appended: UTC day on which the broker appended the record.
    """
    if header is None or not _DAY.fullmatch(header):
        return appended
    try:
        claimed = date.fromisoformat(header.decode("ascii"))
    except ValueError:
        return appended
    return claimed if abs(claimed - appended) <= timedelta(days=1) else appended
