"""Silver and quarantine: one step that develops what bronze holds beyond the last offset developed.

Both tables are written by one step, for a record goes to exactly one of them, and each keeps in its own commits how far
developing came (resources/developing.py). A record can be bad; it cannot stop the stream. With nothing new both are
materialized with zero new rows, which is how a person sees that the lane works.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts, preview
from platform_assets.reporting import bar_chart, computed_on, markdown_table
from platform_assets.schema import asset_key, pool, table_asset
from resources.dagster_resources import ComputeResource, KeysResource, LakeResource, SettingsResource, StatusResource
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

if TYPE_CHECKING:
    from resources.lake import Lake

LANDED_BEFORE = "landed before developing began"
BRONZE = asset_key(RAW_IMAGES)
PROCESSED_PREVIEW = ("day", "format", "bytes", "width", "height", "brightness", "sharpness", "processed_at")
QUARANTINED_PREVIEW = ("day", "reason", "bytes", "quarantined_at")


@dg.multi_asset(
    name="developed_images",
    specs=[
        table_asset(PROCESSED_IMAGES, deps=[BRONZE]),
        table_asset(QUARANTINED_IMAGES, deps=[BRONZE]),
    ],
    pool=pool(PROCESSED_IMAGES),
    retry_policy=RETRY,
)
def developed_images(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    lake: LakeResource,
    keys: KeysResource,
    status: StatusResource,
    compute: ComputeResource,
) -> Iterator[dg.MaterializeResult]:
    """Develop new records; what is no good image goes to quarantine with a reason."""
    from resources.developing import Developer

    started = time.monotonic()
    loaded = settings.load()
    tables = lake.open()
    with told_to_dagster(context):
        landed = landed_before(tables)
        far = compute.elsewhere(context, tables, PROCESSED_IMAGES.name)
    with told_to_dagster(context), status.open() as projection, compute.open() as decoders:
        developer = Developer(loaded, tables, keys.open(), projection, decoders, far=far)
        result = developer.develop(lambda done, total: context.log.info("developed %d of %d records", done, total))
    seconds = time.monotonic() - started
    positions = [(at.topic, at.partition, offset) for at, offset in sorted(result.positions.items())]
    both = {
        "records read": result.records,
        "resends": result.duplicates,
        "records per second": round(result.records / seconds, 1) if result.records else 0.0,
        "seconds": round(seconds, 3),
        "seconds by part": markdown_table(["part", "seconds"], [*result.seconds.items()]),
        "developed to": markdown_table(["topic", "partition", "offset"], positions),
        "commits": result.commits,
        **computed_on(far),
        LANDED_BEFORE: dg.MetadataValue.json(landed),
    }
    reasons = {reason.value: count for reason, count in result.quarantined.items()}
    explained = [(reason, count, Reason(reason).sentence) for reason, count in _most_first(reasons)]
    with told_to_dagster(context):
        processed, processed_version = delta_facts(tables, PROCESSED_IMAGES)
        quarantined, quarantined_version = delta_facts(tables, QUARANTINED_IMAGES)
        yield dg.MaterializeResult(
            asset_key=asset_key(PROCESSED_IMAGES),
            metadata={
                "new rows": result.processed,
                **both,
                **processed,
                "where the time went": bar_chart("seconds by part", dict(result.seconds), " s"),
                "preview": preview(tables, PROCESSED_IMAGES, PROCESSED_PREVIEW, "processed_at"),
            },
            data_version=dg.DataVersion(processed_version),
        )
        yield dg.MaterializeResult(
            asset_key=asset_key(QUARANTINED_IMAGES),
            metadata={
                "new rows": sum(reasons.values()),
                **both,
                **quarantined,
                "reasons": markdown_table(["reason", "records", "meaning"], explained),
                "reasons at a glance": bar_chart("in quarantine by reason, all days", in_quarantine(tables)),
                "preview": preview(tables, QUARANTINED_IMAGES, QUARANTINED_PREVIEW, "quarantined_at"),
            },
            data_version=dg.DataVersion(quarantined_version),
        )


def landed_before(lake: "Lake") -> dict[str, int]:
    """The last offset landed, under the identifier that developing must have reached when it is done."""
    from resources.developing import landed_positions
    from resources.lake import TableMissing
    from resources.progress import develop_app_id

    try:
        bronze = lake.open(RAW_IMAGES.name)
    except TableMissing:
        return {}
    return {
        develop_app_id(at.topic, at.partition, at.topic_id): last for at, last in landed_positions(lake, bronze).items()
    }


def in_quarantine(lake: "Lake") -> dict[str, float]:
    """Records in quarantine by reason."""
    import polars as pl

    counted = pl.scan_delta(lake.open(QUARANTINED_IMAGES.name)).group_by("reason").len()
    counts = lake.collect(counted, QUARANTINED_IMAGES.name)
    return {reason: float(count) for reason, count in counts.iter_rows()}


def _most_first(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
