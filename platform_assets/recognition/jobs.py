"""The jobs of recognition: learn and promote, then name what lives; or only name what is new.

Apart from the live lane, which must not wait for a training, and whose process must not import MLflow.
"""

import dagster as dg

from platform_assets.recognition.digit_classifier import CHAMPION_KEY, MODEL
from platform_assets.schema import asset_key
from transforms.tables import LABEL_CORRECTIONS, LABEL_TRUST, RECOGNISED_IMAGES, RECOGNISED_STREAM, TRAINING_SET

TRAIN_JOB = "train_digit_classifier"
RECOGNISE_JOB = "recognise_images"
_TAGS = {"darkroom/lane": "learning", "dagster/max_runtime": str(3600)}

train_digit_classifier = dg.define_asset_job(
    TRAIN_JOB,
    selection=dg.AssetSelection.assets(
        *(
            asset_key(spec)
            for spec in (LABEL_CORRECTIONS, RECOGNISED_STREAM, TRAINING_SET, LABEL_TRUST, RECOGNISED_IMAGES)
        ),
        MODEL,
        CHAMPION_KEY,
    ),
    description="Makes the training set, trains, promotes what is better than the champion, and names the living days.",
    executor_def=dg.in_process_executor,
    tags=_TAGS,
)

recognise_images = dg.define_asset_job(
    RECOGNISE_JOB,
    selection=dg.AssetSelection.assets(asset_key(RECOGNISED_STREAM), asset_key(RECOGNISED_IMAGES)),
    description="The champion names the images that it has not named yet. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags=_TAGS,
)
