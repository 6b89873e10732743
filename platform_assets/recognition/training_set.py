"""The training set: labelled features of the living days, split by content, replaced whole.

Counts by split and class are shown, and the manifest that a model names as what it learned from; no label of an image.
"""

import time

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import FEWEST_LABELS, label_chart, markdown_table
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import KeysResource, LakeResource
from transforms.recognition import DIGITS, SPLITS
from transforms.tables import IMAGE_FEATURES, LABEL_CORRECTIONS, PROCESSED_IMAGES, TRAINING_SET

FRESH_HOURS = 48
"""Made anew every night."""


@dg.multi_asset(
    name="training_set",
    specs=[
        table_asset(
            TRAINING_SET,
            deps=[asset_key(IMAGE_FEATURES), asset_key(PROCESSED_IMAGES), asset_key(LABEL_CORRECTIONS)],
            tags=LEARNING,
            fresh_hours=FRESH_HOURS,
        )
    ],
    pool=pool(TRAINING_SET),
    retry_policy=RETRY,
)
def training_set(context: dg.AssetExecutionContext, lake: LakeResource, keys: KeysResource) -> dg.MaterializeResult:
    """Replace the set by what features and labels hold now."""
    from resources.label_trust import read_verdicts
    from resources.training_set import make_training_set

    started = time.monotonic()
    with told_to_dagster(context):
        tables = lake.open()
        distrusted = [one.uploader for one in read_verdicts(tables).values() if not one.trusted]
        made = make_training_set(tables, keys.open(), DIGITS, distrusted=distrusted)
        facts, version = delta_facts(tables, TRAINING_SET)
    counts = made.counts()
    by_class = [(label, *(counts[(split, label)] for split in SPLITS)) for label in DIGITS.labels]
    context.log.info("%d labelled images, manifest %s", len(made.ids), made.manifest[:12])
    return dg.MaterializeResult(
        asset_key=asset_key(TRAINING_SET),
        metadata={
            "labelled images": len(made.ids),
            "manifest": made.manifest,
            "rows by class and split": markdown_table(
                ["class", *SPLITS], by_class if len(made.ids) >= FEWEST_LABELS else []
            ),
            "class balance": label_chart(
                "labelled images by class",
                {label: float(sum(counts[(split, label)] for split in SPLITS)) for label in DIGITS.labels},
            ),
            "corrected labels": len(made.corrected),
            "corrections read": made.corrections,
            "corrections passed over": markdown_table(["why", "corrections"], sorted(made.refused.items())),
            "left out": markdown_table(["why", "images"], sorted(made.skipped.items())),
            **facts,
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(made.manifest or version),
    )


training_set_checks = table_checks(TRAINING_SET, unique=("id",))
