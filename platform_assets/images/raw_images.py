"""Bronze: every record of the stream, verbatim, by the landing protocol (docs/landing-protocol.md).

A run lands up to the watermark that it sees at its start, and no run is told an offset: where to go on is read from the
table. So it may be materialized at any time, twice at once too; with nothing new it materializes zero records. A loss
stops it with the range and what to do (`darkroom accept-loss`), and is not tried again by itself.
"""

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts, preview
from platform_assets.images.raw_image_stream import KEY as STREAM
from platform_assets.images.verified import LANDED_TO, offsets_of
from platform_assets.landed_facts import landed_facts
from platform_assets.schema import asset_key, pool, table_asset
from resources.dagster_resources import KafkaResource, LakeResource, StatusResource
from transforms.tables import RAW_IMAGES

PREVIEW = ("partition", "offset", "timestamp", "landed_at", "day")


@dg.multi_asset(
    name="raw_images",
    specs=[table_asset(RAW_IMAGES, deps=[STREAM])],
    pool=pool(RAW_IMAGES),
    retry_policy=RETRY,
)
def raw_images(
    context: dg.AssetExecutionContext, kafka: KafkaResource, lake: LakeResource, status: StatusResource
) -> dg.MaterializeResult:
    """Land what the topic holds beyond the table."""
    from resources.landed_telling import tell_landed
    from resources.landing import Lander

    with told_to_dagster(context):
        tables = lake.open()
        landed = Lander(kafka.load(), tables).land(
            lambda records, size: context.log.info("landed %d records, %d bytes", records, size)
        )
        if landed.records:
            with status.open() as projection:
                tell_landed(tables, projection, landed)
        facts, version = delta_facts(tables, RAW_IMAGES)
        newest = preview(tables, RAW_IMAGES, PREVIEW, "timestamp")
    return dg.MaterializeResult(
        asset_key=asset_key(RAW_IMAGES),
        metadata={
            **landed_facts(landed),
            LANDED_TO: offsets_of(landed.topic_id, {p: part.end for p, part in landed.partitions.items()}),
            **facts,
            "preview": newest,
        },
        data_version=dg.DataVersion(version),
    )
