"""upkeep/retention: what is over is purged, and a check that nothing which is over is left.

A run purges every day that is past its last, by its records and by two clocks; `resources.purging` says how and in what
order. It is the one asset that destroys, and it destroys by the clock: a day is kept longer by a hold
(`darkroom keys hold`), of the day or of one uploader, not by stopping the schedule.

What is looked for on the disks after a purge is observed before it: a run that is killed leaves it to the next.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.failing import RETRY, told_to_dagster
from platform_assets.reporting import markdown_table
from platform_assets.schema import asset_key
from resources.dagster_resources import RetentionResource
from resources.job_names import PURGE_JOB
from resources.pools import RETENTION_POOL
from transforms.retention import PURGED

if TYPE_CHECKING:
    from resources.key_holds import HeldKey
    from resources.purge_proof import Piece, Report

RETENTION = dg.AssetKey(["upkeep", "retention"])
LOOKED_FOR = "looked for after the purge"
"""Label of an observation: pieces of what is purged, as JSON."""


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
        _observe(context, retention, [one.day for one in purge.days() if one.due], purge.held())
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
            "key files deleted": done.key_files,
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
            **({"what to do": f"Run the job {PURGE_JOB}; its log says what stood in the way."} if left else {}),
        },
    )


@dg.asset_check(
    asset=RETENTION,
    name="no_byte_of_it_is_left",
    description="Pieces of what was purged, found on the disks before, are in no file after it: of the lake with its "
    "old versions, of Kafka, PostgreSQL, MLflow, logs and the others that the setting `searched` names.",
    retry_policy=RETRY,
)
def no_byte_of_it_is_left(context: dg.AssetCheckExecutionContext, retention: RetentionResource) -> dg.AssetCheckResult:
    """Red where a byte is left, or where the search does not see; a warning while Kafka's open segment still has it."""
    from resources.purge_proof import PATIENCE

    with told_to_dagster(context), retention.open() as purge:
        proof = retention.proof()
        past = {one.day for one in purge.days()}
        report = proof.after(_looked_for(context.instance), [day for day in purge.living() if day not in past])
    if not proof.searches:
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"what to do": "Nothing was searched: name this machine's folders in the setting `searched`."},
        )
    oldest = min((one.taken for one in report.pieces if one.name in report.left), default=datetime.now(UTC))
    waits = report.waits_for_kafka and datetime.now(UTC) - oldest < PATIENCE and not report.unseen
    return dg.AssetCheckResult(
        passed=not (report.left or report.unseen or report.unreadable),
        severity=dg.AssetCheckSeverity.WARN if waits and not report.unreadable else dg.AssetCheckSeverity.ERROR,
        metadata={"what it means": _meaning(report, waits), **_shown(report)},
    )


def _observe(
    context: dg.AssetExecutionContext, retention: RetentionResource, due: Sequence[date], held: "Sequence[HeldKey]"
) -> None:
    """Take pieces of the days that are due, and keep those of an earlier purge that still lie somewhere."""
    from resources.purge_proof import as_text

    proof, known = retention.proof(), _looked_for(context.instance)
    if not proof.searches or not (due or known):
        return
    pieces = proof.before(known, due, held)
    seen = {"pieces": len(pieces), "days": ", ".join(sorted({str(one.day) for one in pieces})) or "none"}
    context.log_event(
        dg.AssetObservation(RETENTION, metadata={LOOKED_FOR: dg.MetadataValue.text(as_text(pieces)), **seen})
    )


def _looked_for(instance: dg.DagsterInstance) -> "list[Piece]":
    from resources.purge_proof import from_text

    for record in instance.fetch_observations(RETENTION, limit=1).records:
        observed = record.asset_observation
        if observed is not None and (text := observed.metadata.get(LOOKED_FOR)) is not None:
            return from_text(str(text.value))
    return []


def _meaning(report: "Report", waits: bool) -> str:
    if report.unreadable:
        return "Not everything could be searched: see `could not be searched`."
    if report.unseen:
        return f"The search proves nothing, for it did not find what it had to: {', '.join(report.unseen[:5])}."
    if waits:
        return "What is left lies in segments that Kafka closes within the hour; the next run looks again."
    if report.left:
        return "Bytes of a purged day are on a disk: see `left`. A copy that nobody told the platform of, perhaps."
    return "Nothing was purged since the last search." if not report.pieces else "None is left, and the search sees."


def _shown(report: "Report") -> dict[str, dg.MetadataValue]:
    left = [(name, len(files), ", ".join(sorted(files)[:3])) for name, files in sorted(report.left.items())]
    return {
        "looked for": markdown_table(
            ["piece", "before the purge in", "after it in"],
            [(one.name, ", ".join(one.places), len(report.left.get(one.name, ()))) for one in report.pieces],
        ),
        "left": markdown_table(["piece", "files", "the first of them"], left),
        "searched": markdown_table(["place", "bytes"], sorted(report.searched.items())),
        "could not be searched": markdown_table(["place", "why"], sorted(report.unreadable.items())),
    }


purge_days = dg.define_asset_job(
    PURGE_JOB,
    selection=dg.AssetSelection.assets(RETENTION),
    description="Purges the days that are over, everywhere, for good. Harmless at any time: it goes by their records.",
    executor_def=dg.in_process_executor,
    tags={"darkroom/lane": "upkeep", "dagster/max_runtime": str(2 * 3600)},
)
