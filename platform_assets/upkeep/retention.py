"""upkeep/retention: what is over is purged, and a check that nothing which is over is left.

A run purges every day that is past its last, by its records and by two clocks; `resources.purging` says how and in what
order. It is the one asset that destroys, and it destroys by the clock: a day is kept longer by a hold
(`darkroom keys hold DAY`), not by stopping the schedule.
"""

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import markdown_table
from platform_assets.schema import asset_key
from resources.dagster_resources import RetentionResource
from resources.pools import RETENTION_POOL
from transforms.retention import PURGED

RETENTION = dg.AssetKey(["upkeep", "retention"])
JOB = "purge_days"


@dg.asset(
    key=RETENTION,
    group_name="upkeep",
    kinds={"deltalake", "kafka", "postgres"},
    owners=["team:platform"],
    deps=[asset_key(spec) for spec in PURGED],
    description="Days past their last: their keys are destroyed, and their records, rows, files and states removed.",
    pool=RETENTION_POOL,
    retry_policy=RETRY,
)
def retention(context: dg.AssetExecutionContext, retention: RetentionResource) -> dg.MaterializeResult:
    """Purge what is due."""
    with told_to_dagster(context), retention.open() as purge:
        done = purge.run()
    for day in done.days:
        context.log.info("%s: %s", day.day, day.sentence)
    records = [(topic, partition, low) for topic, lows in done.kafka.items() for partition, low in sorted(lows.items())]
    return dg.MaterializeResult(
        metadata={
            "days purged": sum(one.due for one in done.days),
            "days kept": sum(not one.due for one in done.days),
            "days": markdown_table(
                ["day", "rows", "what became of it"],
                [(one.day, sum(one.rows.values()), one.sentence) for one in done.days],
            ),
            "keys destroyed": done.keys,
            "rows removed": markdown_table(["table", "rows"], sorted(done.rows.items())),
            "files deleted": done.files,
            "states removed": done.states,
            "Kafka begins at": markdown_table(["topic", "partition", "offset"], records),
            "seconds": done.seconds,
        }
    )


@dg.asset_check(
    asset=RETENTION,
    name="nothing_over_is_left",
    description="No table has a row, and no key opens, of a day that is over and not held.",
    retry_policy=RETRY,
)
def nothing_over_is_left(context: dg.AssetCheckExecutionContext, retention: RetentionResource) -> dg.AssetCheckResult:
    """Red where a purge is behind; what is held is told and is not red."""
    with told_to_dagster(context), retention.open() as purge:
        days = purge.days()
    left = [one for one in days if one.due]
    return dg.AssetCheckResult(
        passed=not left,
        metadata={
            "days left": len(left),
            "days": markdown_table(
                ["day", "rows", "why"],
                [(one.day, sum(one.rows.values()), "over" if one.due else one.sentence) for one in days],
            ),
            **({"what to do": f"Run the job {JOB}; its log says what stood in the way."} if left else {}),
        },
    )


purge_days = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(RETENTION),
    description="Purges the days that are over, everywhere, for good. Harmless at any time: it goes by their records.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "upkeep", "dagster/max_runtime": str(2 * 3600)},
)
