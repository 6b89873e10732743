"""The job `upkeep_tables`: hourly compaction, checkpoint, vacuum and log clean-up, one step a table.

Each step takes a slot of its table's pool, so that it waits for a writer in place of racing it, and reports what it
did as an observation of that table: the numbers stand on the asset's own page. It changes no row, and so materializes
nothing.
"""

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.schema import asset_key, pool
from resources.dagster_resources import LakeResource
from resources.job_names import UPKEEP_JOB
from transforms.tables import TABLES, TableSpec


def upkeep_op(spec: TableSpec) -> dg.OpDefinition:
    """The upkeep step of one table."""
    name = spec.name.split("/")[-1]

    @dg.op(name=f"upkeep_{name}", pool=pool(spec), retry_policy=RETRY, description=f"Keep {spec.name} quick.")
    def upkeep(context: dg.OpExecutionContext, lake: LakeResource) -> dg.Output[None]:
        from resources.upkeep import maintain

        with told_to_dagster(context):
            done = maintain(lake.open(), spec)
        if done is None:
            context.log.info("%s is not there yet: nothing to keep up", spec.name)
            return dg.Output(None, metadata={"files after": 0})
        facts: dict[str, int | float] = {
            "files before": done.files_before,
            "files after": done.files_after,
            "removed files": done.removed_files,
            "bytes": done.bytes,
            "dagster/row_count": done.rows,
            "delta version": done.version,
            "seconds": done.seconds,
        }
        context.log_event(
            dg.AssetObservation(asset_key(spec), description="Hourly upkeep of the table's files", metadata=facts)
        )
        return dg.Output(None, metadata=facts)

    return upkeep


UPKEEP_OPS = tuple(upkeep_op(spec) for spec in TABLES)


@dg.job(
    name=UPKEEP_JOB,
    executor_def=dg.in_process_executor,
    description="Compacts, checkpoints and cleans every table of the lake; started hourly.",
    tags={"dagster/max_runtime": str(2 * 3600)},
    run_tags={"darkroom/lane": "upkeep"},
)
def upkeep_tables() -> None:
    """One step a table, one after the other."""
    for step in UPKEEP_OPS:
        step()
