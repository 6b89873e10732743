"""Remembers, in the check's own history, up to which offsets bronze was compared with the broker.

Why: a landing that lost a record must not be forgotten because the next one has nothing new and passes. So each
comparison begins where the last one that passed had ended, and until one passes nothing moves. Mechanism: the
evaluation's metadata, which Dagster keeps with the check. Limits: only the newest evaluations are looked at; beyond
them, and at first, the comparison begins at the broker's low watermark, which is only more thorough.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.schema import asset_key
from transforms.tables import RAW_IMAGES

if TYPE_CHECKING:
    from resources.completeness import Range
    from resources.progress import Progress

VERIFIED = "verified up to"
LANDED_TO = "watermark at the start"
EVALUATIONS = 25


def verified_before(instance: dg.DagsterInstance, key: dg.AssetCheckKey, topic_id: str) -> dict[int, int]:
    """First offset not yet verified, by partition, by the newest evaluation that passed; empty where there is none."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=EVALUATIONS):
        event = record.event.dagster_event if record.event is not None else None
        if event is None or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed or VERIFIED not in evaluation.metadata:
            continue
        return _offsets(evaluation.metadata[VERIFIED], topic_id)
    return {}


def landed_to(instance: dg.DagsterInstance, topic_id: str) -> dict[int, int]:
    """The watermarks that the last landing saw at its start, if it was of this topic."""
    event = instance.get_latest_materialization_event(asset_key(RAW_IMAGES))
    materialization = event.asset_materialization if event is not None else None
    stored = materialization.metadata.get(LANDED_TO) if materialization is not None else None
    return _offsets(stored, topic_id)


def to_verify(seen: "Progress", before: Mapping[int, int], landed_to: Mapping[int, int]) -> "list[Range]":
    """What to compare now, by partition.

    Args:
        seen: watermarks and identifiers.
        before: first offset not yet verified.
        landed_to: watermark that the last landing saw at its start: it should have come so far.
    """
    from resources.completeness import Range

    ranges = []
    for partition, low in sorted(seen.low.items()):
        first = max(low, before.get(partition, low))
        # A landing beside this one may have come beyond the watermarks at hand; that is for the next comparison.
        end = min(seen.high[partition], max(seen.landed.get(partition, -1) + 1, landed_to.get(partition, 0)))
        ranges.append(Range(partition, first, max(first, end)))
    return ranges


def offsets_of(topic_id: str, offsets: Mapping[int, int]) -> dg.JsonMetadataValue:
    """Offsets by partition of a topic, as metadata that is read back here."""
    return dg.MetadataValue.json({"topic id": topic_id, "offsets": {str(p): offset for p, offset in offsets.items()}})


def _offsets(stored: dg.MetadataValue | None, topic_id: str) -> dict[int, int]:
    """What `offsets_of` wrote, if it is of this topic; nothing otherwise."""
    body = stored.value if isinstance(stored, dg.JsonMetadataValue) else None
    if not isinstance(body, dict) or body.get("topic id") != topic_id or not isinstance(body.get("offsets"), dict):
        return {}
    offsets: Any = body["offsets"]
    return {int(partition): int(offset) for partition, offset in offsets.items()}
