"""What a landing did, as every table that a topic lands in shows it."""

from typing import TYPE_CHECKING, Any

from platform_assets.reporting import markdown_table

if TYPE_CHECKING:
    from resources.landing import LandingResult


def landed_facts(landed: "LandingResult") -> dict[str, Any]:
    """Counts, seconds, topic and offsets of one run."""
    partitions = [
        (partition, part.start, part.last if part.last is not None else "nothing new", part.end)
        for partition, part in sorted(landed.partitions.items())
    ]
    return {
        "new records": landed.records,
        "new bytes": landed.bytes,
        "commits": landed.commits,
        "seconds": round(landed.seconds, 3),
        "records per second": round(landed.records / landed.seconds, 1) if landed.records else 0.0,
        "topic": landed.topic,
        "topic id": landed.topic_id,
        "offsets": markdown_table(["partition", "from", "to", "watermark at the start"], partitions),
    }
