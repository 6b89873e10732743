"""The job `replay_quarantine`: quarantined records are tried once more, after what turned them away was mended.

Mechanism: `resources.replay` reads the records again from bronze by topic, partition and offset, writes the good ones
to processed images, and only then takes them out of quarantine; no landing or developing identifier moves. Stopped
anywhere and run again, each image still has one row.

Limits: it is a job and no asset, for it makes nothing that the live lane would not have made. What it changed is
reported as materializations of both tables. Its numbers are the output's metadata, which `darkroom replay-quarantine`
prints.
"""

import dagster as dg
from pydantic import Field

from platform_assets.failing import told_to_dagster
from platform_assets.schema import asset_key, pool
from resources.dagster_resources import ComputeResource, KeysResource, LakeResource, SettingsResource, StatusResource
from resources.job_names import REPLAY_JOB
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

NO_RETRIES = {"dagster/max_retries": "0", "darkroom/lane": "replay"}


class ReplayConfig(dg.Config):
    """What to try again."""

    reason: str | None = Field(
        default=None,
        description="Only records quarantined for this reason code; empty means all. "
        "An unknown one fails the run, naming the valid ones.",
    )


def checked_reason(text: str | None) -> Reason | None:
    """The reason that `text` names, or None where it names none.

    Raises:
        dagster.Failure: there is no such reason; lists the valid ones, and is not tried again.
    """
    if not text:
        return None
    try:
        return Reason(text)
    except ValueError:
        valid = ", ".join(Reason)
        raise dg.Failure(f"{text!r} is no reason of quarantine. Valid ones: {valid}.", allow_retries=False) from None


@dg.op(pool=pool(PROCESSED_IMAGES), description="Try quarantined records again.")
def replay_quarantined_records(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    settings: SettingsResource,
    lake: LakeResource,
    keys: KeysResource,
    status: StatusResource,
    compute: ComputeResource,
) -> dg.Output[None]:
    """Replay, and say how many records were tried, how many are images now, and how many stay."""
    reason = checked_reason(config.reason)

    from resources.replay import replay

    with told_to_dagster(context), status.open() as projection, compute.open() as decoders:
        result = replay(
            settings.load(),
            lake.open(),
            keys.open(),
            projection,
            decoders,
            reason=reason,
            progress=lambda done, total: context.log.info("tried %d of %d records", done, total),
        )
    counts = {"tried": result.tried, "replayed": result.replayed, "still_quarantined": result.still_quarantined}
    counts["gone"] = result.gone
    # The code as text: Dagster stores no enumeration of ours.
    told = "every reason" if reason is None else reason.value
    context.log.info("Replayed quarantine (%s): %s", told, counts)
    if result.replayed:
        for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES):
            context.log_event(
                dg.AssetMaterialization(asset_key(spec), description="Replay of quarantine", metadata=dict(counts))
            )
    return dg.Output(None, metadata={"reason": told, **counts})


@dg.job(
    name=REPLAY_JOB,
    executor_def=dg.in_process_executor,
    run_tags=NO_RETRIES,
    description="Tries quarantined records again; each image lands once. "
    "Started by `darkroom replay-quarantine [--reason R]`.",
)
def replay_quarantine() -> None:
    """Replay quarantine in one process."""
    replay_quarantined_records()
