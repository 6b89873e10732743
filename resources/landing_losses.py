"""What the table has landed of a topic, what of the topic is lost, and a person's word to go on behind it.

Where a topic and the table's identifiers do not meet, records are gone that never landed: landing stops there, and says
which. Accepting that is a commit of identifiers alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deltalake import DeltaTable

from resources.failures import PermanentFailure
from resources.kafka import Admin
from resources.lake import Lake
from resources.settings import Settings
from resources.topics import Topic, images_topic
from transforms.landing_protocol import (
    Loss,
    LossKind,
    Plan,
    TopicState,
    accepted,
    generation_app_ids,
    generation_of,
    partition_app_id,
    plan,
    topic_id_of,
)

_logger = logging.getLogger("darkroom.landing")


class LandingStopped(PermanentFailure):
    """Records are gone that never landed, or the broker lost its tail. Nothing is landed until a person decides."""

    def __init__(self, topic: str, losses: Sequence[Loss]) -> None:
        self.topic = topic
        self.losses = tuple(losses)
        truncated = any(loss.kind is LossKind.TRUNCATED for loss in losses)
        todo = (
            "A truncated log gives landed offsets to other records, so it cannot be gone on with: delete the topic, "
            f"make it anew (`darkroom up`), then `darkroom accept-loss --topic {topic}`."
            if truncated
            else f"`darkroom accept-loss --topic {topic}` shows what would be given up, "
            "and with --yes goes on behind it."
        )
        lines = "\n".join(f"  {loss.sentence}" for loss in losses)
        first = losses[0]
        super().__init__(
            f"Landing of topic {topic} stopped at a loss in {len(losses)} partition(s); nothing was landed past it:\n"
            f"{lines}\n{todo}",
            {
                "topic": topic,
                "kind": first.kind.value,
                "partition": first.partition,
                "first_offset": first.first,
                "last_offset": "unknown" if first.last is None else first.last,
                "old_topic_id": first.old_topic_id,
                "new_topic_id": first.new_topic_id,
            },
        )


@dataclass(frozen=True)
class AcceptedLoss:
    """What `accept_loss` found, and whether it was written."""

    losses: tuple[Loss, ...]
    identifiers: Mapping[str, int]
    written: bool

    @property
    def description(self) -> str:
        """For a person: each loss in a sentence, and where landing goes on."""
        if not self.losses:
            return "No loss: landing goes on by itself. Nothing was written."
        lines = [loss.sentence for loss in self.losses]
        verb = "Landing now goes on" if self.written else "Nothing was written. With --yes landing goes on"
        places = ", ".join(f"{app_id} after {version}" for app_id, version in self.identifiers.items())
        return "\n".join([*lines, f"{verb} behind it ({places})."])


def known_topic_id(lake: Lake, handle: DeltaTable, topic: str) -> str | None:
    """The topic id that the table has landed; None for a table that never landed this topic."""
    high, low = generation_app_ids(topic)
    return topic_id_of(lake.identifier(handle, high), lake.identifier(handle, low))


def landed_offsets(
    lake: Lake, handle: DeltaTable, topic: str, topic_id: str, partitions: Sequence[int]
) -> dict[int, int]:
    """Last offset landed by partition; a partition that never landed is not in it."""
    found = {p: lake.identifier(handle, partition_app_id(topic, p, topic_id)) for p in partitions}
    return {p: offset for p, offset in found.items() if offset is not None}


def planned(lake: Lake, handle: DeltaTable, state: TopicState) -> Plan:
    """Where landing goes on in a topic as it is now, or what of it is lost."""
    known = known_topic_id(lake, handle, state.topic)
    landed = landed_offsets(lake, handle, state.topic, state.topic_id, list(state.partitions))
    of_known = landed_offsets(lake, handle, state.topic, known, list(state.partitions)) if known else {}
    return plan(state, known, landed, of_known)


def accept_loss(
    settings: Settings, lake: Lake, topic: Topic | None = None, *, who: str, why: str, dry_run: bool = True
) -> AcceptedLoss:
    """Go on behind lost records: a commit of identifiers alone, which says who gave up what and why.

    Args:
        topic: whose loss; the images' when None.
        who: the person who decides; kept in the table's history.
        why: their reason; kept likewise.
        dry_run: only say what would be given up.

    Raises:
        LandingStopped: the log was truncated, which nobody can accept away.
        CommitConflict: a lander committed meanwhile; look again.
        ValueError: `who` or `why` is empty.
    """
    if not who.strip() or not why.strip():
        raise ValueError("Accepting a loss needs who decides it and why; both are kept in the table's history.")
    topic = topic or images_topic(settings)
    handle = lake.open(topic.table.name)
    state = Admin(settings).state(topic.name)
    losses = planned(lake, handle, state).losses
    if not losses:
        return AcceptedLoss((), {}, written=False)
    if any(loss.kind is LossKind.TRUNCATED for loss in losses):
        raise LandingStopped(topic.name, losses)
    identifiers = accepted(state, losses)
    if not dry_run:
        generation = generation_of(state.topic, state.topic_id)
        counters = {app_id: v for app_id, v in identifiers.items() if app_id not in generation}
        marks = {app_id: v for app_id, v in identifiers.items() if app_id in generation}
        info = {
            "darkroom": "accept-loss",
            "who": who,
            "why": why,
            "losses": "; ".join(loss.sentence for loss in losses),
        }
        lake.append(handle, topic.table, None, counters, info, marks=marks)
        _logger.warning("Loss accepted by %s (%s): %s", who, why, info["losses"])
    return AcceptedLoss(losses, identifiers, written=not dry_run)
