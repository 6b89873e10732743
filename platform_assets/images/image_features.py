"""Features for learning: one sealed vector of every developed image, in step with developing.

Part of the live lane: a vector costs less than a millisecond, and an image is ready to be learned from and recognised
as soon as it is developed. Nothing heavy is imported; the model is somebody else's (platform_assets/recognition).
"""

import time

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts, preview
from platform_assets.reporting import computed_on, markdown_table
from platform_assets.schema import asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import ComputeResource, KeysResource, LakeResource
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES

PREVIEW = ("day", "feature_version", "appended_at", "computed_at")


@dg.multi_asset(
    name="image_features",
    specs=[table_asset(IMAGE_FEATURES, deps=[asset_key(PROCESSED_IMAGES)])],
    pool=pool(IMAGE_FEATURES),
    retry_policy=RETRY,
)
def image_features(
    context: dg.AssetExecutionContext, lake: LakeResource, keys: KeysResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """Compute the features of images that have none of this recipe yet."""
    from resources.featuring import compute_features
    from transforms.features import COUNT, RECIPE

    started = time.monotonic()
    with told_to_dagster(context):
        tables = lake.open()
        far = compute.elsewhere(context, tables, IMAGE_FEATURES.name)
        done = compute_features(
            tables,
            keys.open(),
            progress=lambda n, total: context.log.info("features of %d of %d images", n, total),
            far=far,
        )
        facts, version = delta_facts(tables, IMAGE_FEATURES)
        shown = preview(tables, IMAGE_FEATURES, PREVIEW, "computed_at")
    positions = [(at.topic, at.partition, offset) for at, offset in sorted(done.positions.items())]
    return dg.MaterializeResult(
        asset_key=asset_key(IMAGE_FEATURES),
        metadata={
            "new rows": done.rows,
            "dropped rows": done.dropped,
            "images without features": markdown_table(["why", "images"], sorted(done.skipped.items())),
            "recipe": RECIPE,
            **computed_on(far),
            "numbers in a vector": COUNT,
            "computed to": markdown_table(["topic", "partition", "offset"], positions),
            **facts,
            "preview": shown,
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(version),
    )


image_features_checks = table_checks(IMAGE_FEATURES, unique=("id",))
