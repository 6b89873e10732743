"""The code location: gathers assets, checks, jobs, sensors, schedules and resources. Nothing is read at import."""

import dagster as dg

from platform_assets.access.access_policy import access_policy, access_policy_checks, access_policy_job
from platform_assets.images import (
    backfill,
    checks,
    daily_uploads,
    developed,
    image_features,
    raw_image_stream,
    raw_images,
    replay,
)
from platform_assets.jobs import live_images
from platform_assets.messages import label_corrections, land_messages, message_checks, recognised_stream
from platform_assets.recognition import (
    family_assets,
    label_trust,
    recognised_images,
    recognition_quality,
    training_set,
)
from platform_assets.recognition.jobs import TRAINING_JOBS, recognise_images
from platform_assets.shop import insights, item_checks, items, sources
from platform_assets.shop.jobs import refresh_shop
from platform_assets.upkeep import retention, status, tables
from resources.dagster_resources import resource_defs
from sensors.kafka_offsets import kafka_offsets
from sensors.learning import LEARNING_SENSORS, NIGHTLY_SCHEDULES
from sensors.messages import messages_waiting
from sensors.run_failures import run_failures
from sensors.schedules import hourly_access, hourly_purge, hourly_shop, hourly_upkeep
from sensors.shop_changes import shop_changes

defs = dg.Definitions(
    assets=[
        raw_image_stream.raw_image_stream,
        raw_images.raw_images,
        developed.developed_images,
        image_features.image_features,
        daily_uploads.daily_uploads,
        training_set.training_set,
        label_trust.label_trust,
        *(asset for one in family_assets.ALL for asset in (one.model, one.champion)),
        recognised_images.recognised_images,
        label_corrections,
        recognised_stream,
        recognition_quality.recognition_quality,
        sources.shop_tables,
        items.item_events,
        items.dim_item,
        insights.sales_with_items,
        insights.top_members,
        insights.top_items,
        access_policy,
        retention.retention,
    ],
    asset_checks=[
        *checks.CHECKS,
        image_features.image_features_checks,
        training_set.training_set_checks,
        label_trust.label_trust_checks,
        *(check for one in family_assets.ALL for check in one.checks),
        recognised_images.recognised_images_checks,
        *message_checks,
        recognition_quality.recognition_quality_checks,
        recognition_quality.quality_checks,
        item_checks.item_events_checks,
        item_checks.dim_item_checks,
        insights.insight_checks,
        access_policy_checks,
        retention.nothing_over_is_left,
        retention.no_byte_of_it_is_left,
    ],
    jobs=[
        live_images,
        *TRAINING_JOBS,
        recognise_images,
        land_messages,
        refresh_shop,
        replay.replay_quarantine,
        backfill.redevelop_days,
        tables.upkeep_tables,
        status.rebuild_status,
        access_policy_job,
        retention.purge_days,
    ],
    sensors=[kafka_offsets, *LEARNING_SENSORS, messages_waiting, shop_changes, run_failures],
    schedules=[hourly_upkeep, *NIGHTLY_SCHEDULES, hourly_shop, hourly_access, hourly_purge],
    resources=resource_defs(),
    # The steps of a run share its process, which is forked from a warm one (stack/run_server.py): Dagster would start
    # a fresh one for each, and its imports cost more than most steps.
    executor=dg.in_process_executor,
)
