"""The job `redevelop_days`: images of a range of days are developed anew, after something about developing changed.

One step a day and table, each in its table's pool, so that the live lane comes between two days. What is done is known
by the times in the tables: a run that stopped is started again with the same configuration and goes on from there. No
offset and no identifier is in the configuration, and none is moved (resources/backfill.py).

Limits: it is a job and no partitioned asset, for the live lane's assets follow offsets; what it changed is reported as
materializations of the tables.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
from pydantic import Field

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.images.replay import NO_RETRIES
from platform_assets.reporting import computed_on
from platform_assets.schema import asset_key, pool
from resources.dagster_resources import ComputeResource, KeysResource, LakeResource, SettingsResource, StatusResource
from resources.job_names import BACKFILL_JOB
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES


class BackfillConfig(dg.Config):
    """Which days, both ends included, and since when a row counts as developed anew."""

    first_day: str = Field(description="First day, as 2026-03-05.")
    last_day: str = Field(description="Last day, as 2026-03-05.")
    not_before: str = Field(
        description="Rows developed at this instant (ISO 8601, with a zone) or later are done. "
        "Give the same one to go on after a stop; the present to begin."
    )


@dg.op(out=dg.DynamicOut(str), description="The days of the range that hold images, one step for each.")
def days_to_redevelop(
    context: dg.OpExecutionContext, config: BackfillConfig, lake: LakeResource
) -> Iterator[dg.DynamicOutput[str]]:
    """Find the days."""
    from resources.backfill import days_held

    first, last, _ = checked_range(config)
    with told_to_dagster(context):
        days = days_held(lake.open(), first, last)
    context.log.info("%d days hold %d images", len(days), sum(days.values()))
    for day, rows in days.items():
        yield dg.DynamicOutput(
            f"{day.isoformat()} {config.not_before}",
            mapping_key=f"day_{day:%Y_%m_%d}",
            metadata={"rows": rows},
        )


def checked_range(config: BackfillConfig) -> tuple[date, date, datetime]:
    """The range and the instant of a configuration.

    Raises:
        dagster.Failure: they are none; not tried again.
    """
    try:
        first, last = date.fromisoformat(config.first_day), date.fromisoformat(config.last_day)
        since = datetime.fromisoformat(config.not_before)
        if since.tzinfo is None or since > datetime.now(UTC):
            raise ValueError("not_before has no zone, or lies in the future")
        if last < first:
            raise ValueError("the first day is after the last")
    except ValueError as error:
        raise dg.Failure(
            f"{config.first_day} to {config.last_day}, not before {config.not_before}: {error}. Days are written "
            "2026-03-05, the instant 2026-03-05T12:00:00+00:00.",
            allow_retries=False,
        ) from None
    return first, last, since


@dg.op(pool=pool(PROCESSED_IMAGES), retry_policy=RETRY, description="Develop the images of one day anew.")
def redevelop_one_day(
    context: dg.OpExecutionContext,
    chosen: str,
    settings: SettingsResource,
    lake: LakeResource,
    keys: KeysResource,
    status: StatusResource,
    compute: ComputeResource,
) -> dg.Output[str]:
    """Replace the day's rows, file by file."""
    from resources.backfill import redevelop_day
    from resources.compute import LocalCompute, Tools

    text, _, since = chosen.partition(" ")
    day = date.fromisoformat(text)
    with told_to_dagster(context), status.open() as projection, compute.open() as decoders:
        tables = lake.open()
        backend = compute.elsewhere(context, tables, PROCESSED_IMAGES.name)
        done = redevelop_day(
            tables,
            backend or LocalCompute(tables, Tools(settings.load(), keys.open(), decoders)),
            day,
            datetime.fromisoformat(since),
            progress=lambda n, total: context.log.info("%s: %d of %d images", day, n, total),
            status=projection,
        )
    counts = {
        "developed anew": done.rows,
        "kept as they were, for they cannot be opened": done.kept,
        "to quarantine": done.quarantined,
        "done before": done.done_before,
        **computed_on(backend),
    }
    context.log_event(
        dg.AssetMaterialization(
            asset_key(PROCESSED_IMAGES), description=f"{day} developed anew", metadata={"day": text, **counts}
        )
    )
    return dg.Output(chosen, metadata=counts)


@dg.op(pool=pool(IMAGE_FEATURES), retry_policy=RETRY, description="Measure the images of one day anew.")
def remeasure_one_day(
    context: dg.OpExecutionContext, chosen: str, lake: LakeResource, keys: KeysResource, compute: ComputeResource
) -> dg.Output[None]:
    """Take out the vectors of old thumbnails, and make them anew."""
    from resources.backfill import remeasure_day
    from resources.featuring import compute_features

    day = date.fromisoformat(chosen.partition(" ")[0])
    with told_to_dagster(context):
        tables = lake.open()
        removed = remeasure_day(tables, day)
        made = compute_features(tables, keys.open(), far=compute.elsewhere(context, tables, IMAGE_FEATURES.name))
    return dg.Output(None, metadata={"vectors taken out": removed, "vectors made": made.rows})


@dg.job(
    name=BACKFILL_JOB,
    executor_def=dg.in_process_executor,
    run_tags={**NO_RETRIES, "darkroom/lane": "backfill"},
    description="Develops the images of a range of days anew, while the live lane goes on. "
    "Started by `darkroom redevelop --from DAY --to DAY`.",
)
def redevelop_days() -> None:
    """One step a day and table."""
    days_to_redevelop().map(redevelop_one_day).map(remeasure_one_day)
