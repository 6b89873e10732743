"""The answers of the sub-second lane, taken in; then the batch lane: each family's champion names what has none yet.

Not in the live lane: MLflow's client costs four seconds of processor time to import, a third of a live run. Without a
champion nothing is named, and the asset says so; a champion that cannot score fails the run after the others have.
"""

import time
from typing import Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts, preview
from platform_assets.recognition.names import champion_key
from platform_assets.reporting import computed_on, label_chart, markdown_table
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import ComputeResource, KeysResource, LakeResource, RegistryResource
from transforms.families import FAMILIES
from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES, RECOGNISED_STREAM

PREVIEW = ("day", "model", "model_version", "probability", "lane", "scored_at")
FRESH_HOURS = 48
"""Its sensor asks for a run a day, also where no image asked for it."""


@dg.multi_asset(
    name="recognised_images",
    specs=[
        table_asset(
            RECOGNISED_IMAGES,
            deps=[
                asset_key(IMAGE_FEATURES),
                asset_key(RECOGNISED_STREAM),
                *(champion_key(family) for family in FAMILIES),
            ],
            tags=LEARNING,
            fresh_hours=FRESH_HOURS,
        )
    ],
    pool=pool(RECOGNISED_IMAGES),
    retry_policy=RETRY,
)
def recognised_images(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    learning_keys: KeysResource,
    registry: RegistryResource,
    learning_compute: ComputeResource,
) -> dg.MaterializeResult:
    """Take in what the sub-second lane answered, and score what the champions have not scored."""
    from resources.recognised_merging import merge_answers, rows_by_lane
    from resources.recognising import recognise_all

    started = time.monotonic()
    with told_to_dagster(context):
        tables, store = lake.open(), learning_keys.open()
        far = learning_compute.elsewhere(context, tables, RECOGNISED_IMAGES.name)
        merged = merge_answers(
            tables, store, progress=lambda n: context.log.info("took in %d answers of the sub-second lane", n)
        )
        done = recognise_all(
            tables,
            store,
            registry.open(),
            FAMILIES,
            progress=lambda family, n, total: context.log.info("%s: looked at %d of %d images", family.name, n, total),
            far=far,
        )
        facts, version = delta_facts(tables, RECOGNISED_IMAGES)
        shown = preview(tables, RECOGNISED_IMAGES, PREVIEW, "scored_at")
        lanes = rows_by_lane(tables)
    told: dict[str, Any] = {
        "new rows of the sub-second lane": merged.rows,
        "its answers that wait for their image": merged.waiting,
        "its answers passed over": markdown_table(["why", "answers"], sorted(merged.passed_over.items())),
        "rows by lane": markdown_table(["lane", "rows"], sorted(lanes.items())),
    }
    for one in done:
        of = f"{one.family.name}: "
        if one.champion is None or one.followed is None:
            told[of + "champion"] = "none: nothing is named before a model was promoted"
            continue
        told |= {
            of + "champion": f"version {one.champion.version}",
            of + "new rows": one.followed.rows,
            of + "images not named": markdown_table(["why", "images"], sorted(one.followed.skipped.items())),
            of + "answers": label_chart("new answers by label", {label: float(n) for label, n in one.named.items()}),
        }
    followed = [one.followed for one in done if one.followed is not None]
    return dg.MaterializeResult(
        asset_key=asset_key(RECOGNISED_IMAGES),
        metadata={
            "new rows": sum(one.rows for one in followed),
            "dropped rows": sum(one.dropped for one in followed),
            **computed_on(far),
            **told,
            **facts,
            "preview": shown,
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(version),
    )


recognised_images_checks = table_checks(RECOGNISED_IMAGES, unique=("id", "model", "model_version"))
