"""The code location: gathers assets, checks, jobs, sensors, schedules and resources. Nothing is read at import."""

import dagster as dg

from platform_assets.images import checks, daily_uploads, developed, raw_image_stream, raw_images, replay
from platform_assets.jobs import live_images
from platform_assets.upkeep import status, tables
from resources.dagster_resources import resource_defs
from sensors.kafka_offsets import kafka_offsets
from sensors.run_failures import run_failures
from sensors.schedules import hourly_upkeep

defs = dg.Definitions(
    assets=[
        raw_image_stream.raw_image_stream,
        raw_images.raw_images,
        developed.developed_images,
        daily_uploads.daily_uploads,
    ],
    asset_checks=checks.CHECKS,
    jobs=[live_images, replay.replay_quarantine, tables.upkeep_tables, status.rebuild_status],
    sensors=[kafka_offsets, run_failures],
    schedules=[hourly_upkeep],
    resources=resource_defs(),
    # One process a run: starting one costs five CPU-seconds, more than most steps.
    executor=dg.in_process_executor,
)
