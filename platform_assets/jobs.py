"""The jobs: the live lane, upkeep of the tables, and the rebuilding of the status projection.

The live lane runs in one process: another for each step would import everything anew, and the steps follow one another
anyway.
"""

import dagster as dg

from platform_assets.schema import asset_key
from resources.job_names import LIVE_JOB
from transforms.tables import LABEL_CORRECTIONS

MAX_RUNTIME_SECONDS = 2 * 3600

live_images = dg.define_asset_job(
    LIVE_JOB,
    selection=dg.AssetSelection.groups("images") - dg.AssetSelection.assets(asset_key(LABEL_CORRECTIONS)),
    description="Lands what the topic holds beyond the lake, develops and counts it. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags={
        "darkroom/lane": "live",
        # A run that hangs would hold the lane; run monitoring ends it.
        "dagster/max_runtime": str(MAX_RUNTIME_SECONDS),
    },
)
