"""Wakes the live lane when the topic holds more than the lake, or the lake more than was developed.

Each tick reads watermarks and identifiers, and the newest run of the job; `sensors.decision` decides. Run requests
carry no offset and no payload: a run reads the watermark itself. A tick has a time budget: every answer of the broker
is waited for 3 seconds at most, and a broker or lake that is away makes a skipped tick with a sentence, not an error
every five seconds. Dagster's daemon evaluates sensors every 5 s, whatever `minimum_interval_seconds` says.
"""

import time

import dagster as dg

from resources.dagster_resources import KafkaResource, LakeResource
from resources.failures import PlatformFailure, first_line
from resources.progress import Progress, read_progress
from sensors.decision import Ended, LastRun, Movement, decide, movement, observed
from sensors.offset_cursor import OffsetCursor

LIVE_JOB = "live_images"
STREAM = dg.AssetKey(["images", "raw_image_stream"])
ANSWER_SECONDS = 3.0
TICK_SECONDS = 15.0
NEVER_STARTED_SECONDS = 600.0

_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dg.sensor(
    job_name=LIVE_JOB,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for one run of the live lane when records wait to be landed or developed.",
)
def kafka_offsets(context: dg.SensorEvaluationContext, kafka: KafkaResource, lake: LakeResource) -> dg.SensorResult:
    """One tick: see, decide, and observe the stream when its watermarks moved."""
    started = time.monotonic()
    now = time.time()
    cursor = OffsetCursor.loads(context.cursor)
    # Before the offsets: a run that ends in between has then moved what is read, and is not asked for twice.
    last = last_run(context.instance, now)
    try:
        state = kafka.watermarks(ANSWER_SECONDS)
        if time.monotonic() - started > TICK_SECONDS:
            return _skip(cursor, f"the broker took over {TICK_SECONDS:g} s to answer; the next tick tries again")
        seen = read_progress(lake.open(), state)
    except PlatformFailure as failure:
        return _skip(cursor, first_line(failure))
    moved = movement(cursor, seen, now)
    decision = decide(cursor, seen, last, now)
    if decision.run_key and last.ended is Ended.FAILED:
        # A killed run still holds its tables' pool slots, and the run asked for would wait for them.
        context.instance.event_log_storage.free_concurrency_slots_for_run(last.run_id)
    cursor = observed(decision.cursor, seen, now) if moved else decision.cursor
    requests = (
        [dg.RunRequest(run_key=decision.run_key, tags={"darkroom/why": decision.reason})] if decision.run_key else []
    )
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else decision.reason,
        cursor=cursor.dumps(),
        asset_events=[observation(seen, moved)] if moved else [],
    )


def last_run(instance: dg.DagsterInstance, now: float) -> LastRun:
    """How the newest run of the live job stands; any of its runs in flight comes first.

    A run that was made and never started (its daemon died in between) counts as in flight for ten minutes.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=LIVE_JOB), limit=10)
    for record in records:
        status = record.dagster_run.status
        young = now - record.create_timestamp.timestamp() < NEVER_STARTED_SECONDS
        if status in _RUNNING or (status in _WAITING and young):
            return LastRun(Ended.IN_FLIGHT, record.dagster_run.run_id)
    ended = [record for record in records if record.dagster_run.is_finished]
    if not ended:
        return LastRun()
    newest = ended[0]
    failed = newest.dagster_run.status in _FAILED
    ended_at = newest.end_time or newest.update_timestamp.timestamp()
    return LastRun(Ended.FAILED if failed else Ended.SUCCEEDED, newest.dagster_run.run_id, ended_at)


def observation(seen: Progress, moved: Movement) -> dg.AssetObservation:
    """What the stream's page in Dagster shows: totals only, for the event log lives for ever."""
    return dg.AssetObservation(
        asset_key=STREAM,
        metadata={
            "records produced": seen.produced(),
            "new records": moved.records,
            "records per second": round(moved.per_second, 2),
            "offsets to land": seen.to_land(),
            "offsets to develop": seen.to_develop(),
            "topic id": seen.topic_id,
        },
    )


def _skip(cursor: OffsetCursor, reason: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=cursor.dumps())
