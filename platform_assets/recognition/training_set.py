"""The training set: labelled features of the living days, split by content, replaced whole.

Counts by split and class are shown, and the manifest that a model names as what it learned from; no label of an image.
"""

import time
from typing import Any

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.preview import delta_facts
from platform_assets.reporting import FEWEST_LABELS, label_chart, markdown_table
from platform_assets.schema import LEARNING, asset_key, pool, table_asset
from platform_assets.table_checks import table_checks
from resources.dagster_resources import KeysResource, LakeResource
from transforms.families import FAMILIES
from transforms.recognition import SPLITS
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
def training_set(
    context: dg.AssetExecutionContext, lake: LakeResource, learning_keys: KeysResource
) -> dg.MaterializeResult:
    """Replace the set by what features and labels hold now."""
    from resources.label_trust import read_verdicts
    from resources.training_set import make_training_set

    started = time.monotonic()
    with told_to_dagster(context):
        tables = lake.open()
        distrusted = [one.uploader for one in read_verdicts(tables).values() if not one.trusted]
        made = make_training_set(tables, learning_keys.open(), FAMILIES, distrusted=distrusted)
        facts, version = delta_facts(tables, TRAINING_SET)
    told: dict[str, Any] = {}
    for family in (one for one in FAMILIES if one.name in made):
        rows = made[family.name]
        counts = rows.counts()
        by_class = [(label, *(counts[(split, label)] for split in SPLITS)) for label in family.labels]
        told |= {
            f"{family.name}: manifest": rows.manifest,
            f"{family.name}: labelled images": len(rows.ids),
            f"{family.name}: corrected labels": len(rows.corrected),
            f"{family.name}: rows by class and split": markdown_table(
                ["class", *SPLITS], by_class if len(rows.ids) >= FEWEST_LABELS else []
            ),
            f"{family.name}: class balance": label_chart(
                "labelled images by class", {label: float(sum(of_class)) for label, *of_class in by_class}
            ),
        }
        context.log.info("%s: %d labelled images, manifest %s", family.name, len(rows.ids), rows.manifest[:12])
    # What was left out is of the whole set, and stands with each family.
    first = next(iter(made.values()), None)
    return dg.MaterializeResult(
        asset_key=asset_key(TRAINING_SET),
        metadata={
            **told,
            "corrections read": first.corrections if first else 0,
            "corrections passed over": markdown_table(
                ["why", "corrections"], sorted(first.refused.items() if first else ())
            ),
            "left out": markdown_table(["why", "images"], sorted(first.skipped.items() if first else ())),
            **facts,
            "seconds": round(time.monotonic() - started, 3),
        },
        data_version=dg.DataVersion(" ".join(rows.manifest for rows in made.values()) or version),
    )


training_set_checks = table_checks(TRAINING_SET, unique=("id",))
