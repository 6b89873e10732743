"""The Kafka topic as an observed source: offsets, lag and rate. It is not ours to make; it is watched.

The sensor of the live lane reports the same numbers when they move (sensors/kafka_offsets.py); observing by hand, in
the UI, reads them now. The rate is that since the observation before.
"""

import time

import dagster as dg

from platform_assets.failing import told_to_dagster
from platform_assets.reporting import markdown_table
from platform_assets.schema import LIVE, OWNERS
from resources.dagster_resources import KafkaResource, LakeResource

KEY = dg.AssetKey(["images", "raw_image_stream"])
PRODUCED = "records produced"


@dg.multi_observable_source_asset(
    name="raw_image_stream",
    specs=[
        dg.AssetSpec(
            KEY,
            description="The Kafka topic of sealed images: offsets, lag and rate.",
            group_name="images",
            owners=list(OWNERS),
            kinds={"kafka"},
            tags=LIVE,
        )
    ],
)
def raw_image_stream(context: dg.AssetExecutionContext, kafka: KafkaResource, lake: LakeResource) -> dg.ObserveResult:
    """Read the watermarks of every partition, and how far landing and developing have come."""
    from resources.progress import read_progress

    with told_to_dagster(context):
        seen = read_progress(lake.open(), kafka.watermarks())
    partitions = [(p, seen.low[p], seen.high[p], seen.landed.get(p), seen.developed.get(p)) for p in sorted(seen.high)]
    return dg.ObserveResult(
        asset_key=KEY,
        metadata={
            PRODUCED: seen.produced(),
            "records per second": _rate(context.instance, seen.produced()),
            "offsets to land": seen.to_land(),
            "offsets to develop": seen.to_develop(),
            "topic": seen.topic,
            "topic id": seen.topic_id,
            "offsets": markdown_table(["partition", "oldest", "next", "landed to", "developed to"], partitions),
        },
        data_version=dg.DataVersion(f"{seen.topic_id}-{seen.produced()}"),
    )


def _rate(instance: dg.DagsterInstance, produced: int) -> float:
    """Records a second since the observation before; 0 when there is none, or the topic was made anew."""
    before = instance.fetch_observations(KEY, limit=1).records
    if not before or before[0].asset_observation is None:
        return 0.0
    value = before[0].asset_observation.metadata.get(PRODUCED)
    seconds = time.time() - before[0].timestamp
    if value is None or not isinstance(value.value, int) or seconds <= 0:
        return 0.0
    return round(max(0, produced - value.value) / seconds, 2)
