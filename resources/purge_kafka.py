"""What of Kafka's topics is over by what bronze holds, and its deletion."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.lake import Lake
    from resources.settings import Settings
    from transforms.tables import TableSpec


def delete_over(settings: Settings, lake: Lake, due: Collection[date]) -> dict[str, dict[int, int]]:
    """Delete what lies before the first record of a day that lives, and not beyond the last of one that is due."""
    from resources.kafka import Admin
    from resources.kafka_errors import TopicMissing
    from resources.topics import topics

    found = {}
    for topic in topics(settings) if due else ():
        admin = Admin(settings)
        try:
            state = admin.state(topic.name)
        except TopicMissing:
            continue  # a site without that lane
        bounds = first_to_stay(lake, topic.table, state.topic_id, due)
        lows = {partition: low for partition, (low, _) in state.partitions.items()}
        before = {p: bound for p, bound in bounds.items() if p in lows and bound > lows[p]}
        if before:
            found[topic.name] = admin.delete_records(topic.name, before)
    return found


def first_to_stay(lake: Lake, spec: TableSpec, topic_id: str, due: Collection[date]) -> dict[int, int]:
    """By partition, the first offset that has to stay. What bronze does not hold, it has not judged: of a table
    that lost rows, Kafka may have the only copy."""
    import polars as pl

    from resources.lake import TableMissing

    try:
        handle = lake.open(spec.name)
    except TableMissing:
        return {}
    over, offset = pl.col("day").is_in(list(due)), pl.col("offset")
    with lake.named(f"look for the first living record in table {spec.name}"):
        bounds = (
            pl.scan_delta(handle)
            .filter(pl.col("topic_id") == topic_id)
            .group_by("partition")
            .agg(offset.filter(~over).min().alias("living"), (offset.filter(over).max() + 1).alias("over"))
            .filter(pl.col("over").is_not_null())
            .select("partition", pl.min_horizontal("living", "over"))
            .collect()
        )
    return dict(bounds.iter_rows())
