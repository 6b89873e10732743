"""The job `rebuild_status`: fills the projection `image_status` again from the lake.

The projection answers "where is my image" and is never the truth: after a loss of PostgreSQL, or of writes to it,
this puts every image of the lake where it belongs. An upsert only moves a state forward, so that it may run at any
time beside developing, twice, or be stopped in the middle.
"""

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from resources.dagster_resources import LakeResource, StatusResource
from resources.job_names import REBUILD_JOB


@dg.op(retry_policy=RETRY, description="Write the state of every image of the lake into image_status.")
def rebuild_image_status(context: dg.OpExecutionContext, lake: LakeResource, status: StatusResource) -> dg.Output[None]:
    """Quarantined ones first, processed ones after, for processed wins."""
    from resources.status_rebuild import rebuild

    with told_to_dagster(context), status.open() as projection:
        counts = rebuild(lake.open(), projection)
    context.log.info("image_status filled again: %s", counts)
    return dg.Output(None, metadata=dict(counts))


@dg.job(
    name=REBUILD_JOB,
    executor_def=dg.in_process_executor,
    description="Fills the projection image_status again from the lake; harmless at any time.",
    run_tags={"darkroom/lane": "upkeep"},
)
def rebuild_status() -> None:
    """Rebuild in one process."""
    rebuild_image_status()
