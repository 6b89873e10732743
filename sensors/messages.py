"""Wakes the landing of the small topics: corrected labels, and the answers of the sub-second lane.

A tick compares watermarks with the identifiers in the tables, as the live lane's does; at most one run a minute, so
that records that come one by one have no run each. A run that failed is asked for again after five minutes.
"""

import time

import dagster as dg

from resources.dagster_resources import KafkaResource, LakeResource
from resources.failures import PlatformFailure, first_line
from resources.job_names import LAND_JOB
from sensors.asking import turn

ANSWER_SECONDS = 3.0


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

    now = turn(context.instance, LAND_JOB, time.time())
    if now.wait is not None:
        return dg.SkipReason(now.wait)
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
    request = dg.RunRequest(run_key=now.run_key, tags={"darkroom/why": f"offsets to land: {told}"})
    return dg.SensorResult(run_requests=[request])
