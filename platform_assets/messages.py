"""Bronze of the small topics: corrected labels, and the answers of the sub-second lane, by the landing protocol.

One asset a topic, made by one factory. A run lands up to the watermark that it sees at its start, as `raw_images` does;
what a record says is read by whoever follows the table. Apart from the live lane, which must not wait for them.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.landed_facts import landed_facts
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import KafkaResource, LakeResource
from resources.job_names import LAND_JOB
from resources.settings import Settings
from resources.topics import labels_topic, recognised_topic
from transforms.tables import LABEL_CORRECTIONS, RECOGNISED_STREAM, TableSpec

if TYPE_CHECKING:
    from resources.topics import Topic

ORIGIN = ("topic_id", "partition", "offset")
FRESH_HOURS = 48
"""Training lands both, every night."""


def landed_asset(
    spec: TableSpec, topic_of: Callable[[Settings], "Topic"], tags: Mapping[str, str] = LEARNING
) -> dg.AssetsDefinition:
    """The asset of a table that a topic lands in, verbatim."""

    @dg.multi_asset(
        name=spec.name.split("/")[-1],
        specs=[table_asset(spec, deps=[], tags=tags, fresh_hours=FRESH_HOURS)],
        pool=pool(spec),
        retry_policy=RETRY,
    )
    def landed_messages(
        context: dg.AssetExecutionContext, kafka: KafkaResource, lake: LakeResource
    ) -> dg.MaterializeResult:
        from resources.landing import Lander

        settings = kafka.load()
        with told_to_dagster(context):
            tables = lake.open()
            landed = Lander(settings, tables, topic_of(settings)).land(
                lambda records, size: context.log.info("landed %d records, %d bytes", records, size)
            )
            facts, version = delta_facts(tables, spec)
        return dg.MaterializeResult(
            asset_key=asset_key(spec),
            metadata={**landed_facts(landed), **facts},
            data_version=dg.DataVersion(version),
        )

    return landed_messages


label_corrections = landed_asset(LABEL_CORRECTIONS, labels_topic)
recognised_stream = landed_asset(RECOGNISED_STREAM, recognised_topic)
message_checks = [table_checks(spec, unique=ORIGIN) for spec in (LABEL_CORRECTIONS, RECOGNISED_STREAM)]

land_messages = dg.define_asset_job(
    LAND_JOB,
    selection=dg.AssetSelection.assets(asset_key(LABEL_CORRECTIONS), asset_key(RECOGNISED_STREAM)),
    description="Lands corrected labels and the answers of the sub-second lane. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "learning", "dagster/max_runtime": str(3600)},
)
