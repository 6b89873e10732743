"""Wakes the landing of the small topics: corrected labels, and the answers of the sub-second lane.

A tick compares watermarks with the identifiers in the tables, as the live lane's does; at most one run a minute, for
starting a process costs more than landing a thousand records. A run that failed is asked for again after five minutes.
"""

import time

import dagster as dg

from resources.dagster_resources import KafkaResource, LakeResource
from resources.failures import PlatformFailure, first_line

LAND_JOB = "land_messages"
AFTER_FAILURE_SECONDS = 300.0
ANSWER_SECONDS = 3.0

_UNFINISHED = frozenset(
    {
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)


@dg.sensor(
    job_name=LAND_JOB,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for landing when the topics of labels and answers hold more than their tables.",
)
def messages_waiting(
    context: dg.SensorEvaluationContext, kafka: KafkaResource, lake: LakeResource
) -> dg.SensorResult | dg.SkipReason:
    """One tick."""
    from resources.progress import offsets_to_land
    from resources.topics import labels_topic, recognised_topic

    records = context.instance.get_run_records(dg.RunsFilter(job_name=LAND_JOB), limit=1)
    last = records[0] if records else None
    if last is not None and last.dagster_run.status in _UNFINISHED:
        return dg.SkipReason(f"run {last.dagster_run.run_id[:8]} is in flight")
    if last is not None and last.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
        wait = (last.end_time or 0) + AFTER_FAILURE_SECONDS - time.time()
        if wait > 0:
            return dg.SkipReason(f"run {last.dagster_run.run_id[:8]} failed; asked for again in {wait:.0f} s")
    settings = kafka.load(ANSWER_SECONDS)
    waiting, failures = {}, []
    for topic in (labels_topic(settings), recognised_topic(settings)):
        try:
            waiting[topic.name] = offsets_to_land(settings, lake.open(), topic)
        except PlatformFailure as failure:
            failures.append(first_line(failure))
    told = ", ".join(f"{count} of {topic}" for topic, count in waiting.items())
    if not any(waiting.values()):
        return dg.SkipReason(" ".join(failures) or "nothing new: landed up to the watermarks")
    key = f"after-{last.dagster_run.run_id if last is not None else 'none'}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, tags={"darkroom/why": f"offsets to land: {told}"})])
