"""The job of the shop: from the database's changes to the insights."""

import dagster as dg

from platform_assets.schema import asset_key
from resources.job_names import SHOP_JOB
from transforms.shop_tables import SHOP_TABLES

refresh_shop = dg.define_asset_job(
    SHOP_JOB,
    selection=dg.AssetSelection.assets(*(asset_key(spec) for spec in SHOP_TABLES)),
    description="Captures changes of items, folds them into versions, and draws the insights. Harmless at any time.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "shop", "dagster/max_runtime": str(3600)},
)
