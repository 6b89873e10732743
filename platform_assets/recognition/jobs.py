"""The jobs of recognition: for each family, learn and promote, then name what lives; or only name what is new; both
then measure how well the champions do.

Apart from the live lane, which must not wait for a training, and whose process must not import MLflow.
"""

import dagster as dg

from platform_assets.recognition.names import champion_key, model_key
from platform_assets.schema import asset_key
from resources.job_names import RECOGNISE_JOB, train_job_name
from transforms.families import FAMILIES
from transforms.recognition import Family
from transforms.tables import (
    LABEL_CORRECTIONS,
    LABEL_TRUST,
    RECOGNISED_IMAGES,
    RECOGNISED_STREAM,
    RECOGNITION_QUALITY,
    TRAINING_SET,
)

_NAMED = tuple(asset_key(spec) for spec in (RECOGNISED_STREAM, RECOGNISED_IMAGES, RECOGNITION_QUALITY))
_TAGS = {"darkroom/lane": "learning", "dagster/max_runtime": str(3600)}


def _train(family: Family):
    learned_of = (LABEL_CORRECTIONS, TRAINING_SET, LABEL_TRUST) if family.take is not None else ()
    return dg.define_asset_job(
        train_job_name(family.name),
        selection=dg.AssetSelection.assets(
            *map(asset_key, learned_of), model_key(family), champion_key(family), *_NAMED
        ),
        description=f"Trains {family.name}, promotes what is better than the champion, and names the living days.",
        executor_def=dg.in_process_executor,
        tags=_TAGS,
    )


TRAINING_JOBS = tuple(_train(family) for family in FAMILIES)

recognise_images = dg.define_asset_job(
    RECOGNISE_JOB,
    selection=dg.AssetSelection.assets(*_NAMED),
    description="Each champion names the images of its kind that it has not named yet. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags=_TAGS,
)
