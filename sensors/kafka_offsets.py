"""Wakes the live lane when the topic holds more than the lake, or the lake more than was developed.

Each tick reads watermarks and identifiers, and the newest run of the job; `sensors.decision` decides. Run requests
carry no offset and no payload: a run reads the watermark itself. A tick has a time budget for broker and lake together;
one that is away, or does not answer at all, makes a skipped tick with a sentence, not an error every five seconds, and
holds up no other sensor. Dagster's daemon evaluates sensors every 5 s, whatever `minimum_interval_seconds` says.

A run whose process is gone, and whose end nobody noted, would be in flight for ever: Dagster has no health check of the
processes that its default launcher starts. Every step of this lane says something at least once a commit, so that a run
that said nothing for a quarter of an hour is failed here, and asked for again. Should it live after all, no harm is
done: two runs at once write each row once.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import dagster as dg

from resources.dagster_resources import KafkaResource, LakeResource
from resources.failures import PlatformFailure, first_line
from resources.job_names import LIVE_JOB
from resources.progress import Progress, read_progress
from sensors.decision import Ended, LastRun, Movement, decide, movement, observed
from sensors.offset_cursor import OffsetCursor

STREAM = dg.AssetKey(["images", "raw_image_stream"])
ANSWER_SECONDS = 3.0
TICK_SECONDS = 15.0
NEVER_STARTED_SECONDS = 600.0
SILENT_SECONDS = 900.0

SILENT = (
    f"The run said nothing for {SILENT_SECONDS / 60:.0f} minutes: its process is gone or hangs. Nothing is lost: "
    "the next run goes on where the last commit ended."
)

_T = TypeVar("_T")
_looking = threading.Lock()
"""Held while a tick looks; a look that hangs keeps the next ones from piling up behind it."""

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
    now = time.time()
    cursor = OffsetCursor.loads(context.cursor)
    # Before the offsets: a run that ends in between has then moved what is read, and is not asked for twice.
    last = last_run(context.instance, now)
    try:
        seen = within_budget(lambda: read_progress(lake.open(), kafka.watermarks(ANSWER_SECONDS)), TICK_SECONDS)
    except TimeoutError as late:
        return _skip(cursor, str(late))
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


def within_budget(look: Callable[[], _T], seconds: float) -> _T:
    """The result of `look`, or its exception.

    Raises:
        TimeoutError: it took longer, or an earlier one still hangs; says so. What hangs is left to itself, in a thread.
    """
    if not _looking.acquire(blocking=False):
        raise TimeoutError("an earlier look at broker and lake still hangs; the next tick tries again")
    answers: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((look(), None))
        except BaseException as error:
            answers.put((None, error))
        finally:
            _looking.release()

    threading.Thread(target=work, name="kafka-offsets-look", daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(
            f"broker and lake took over {seconds:g} s to say how far they are; the next tick tries again"
        ) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def last_run(instance: dg.DagsterInstance, now: float) -> LastRun:
    """How the newest run of the live job stands; any of its runs in flight comes first.

    A run that was made and never started (its daemon died in between) counts as in flight for ten minutes. One that
    started and has said nothing for fifteen is failed.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=LIVE_JOB), limit=10)
    for record in records:
        run = record.dagster_run
        age = now - record.create_timestamp.timestamp()
        if run.status in _RUNNING and age > SILENT_SECONDS and _silent(instance, run.run_id, now):
            instance.report_run_failed(run, SILENT)
            return LastRun(Ended.FAILED, run.run_id, now)
        if run.status in _RUNNING or (run.status in _WAITING and age < NEVER_STARTED_SECONDS):
            return LastRun(Ended.IN_FLIGHT, run.run_id)
    ended = [record for record in records if record.dagster_run.is_finished]
    if not ended:
        return LastRun()
    newest = ended[0]
    failed = newest.dagster_run.status in _FAILED
    ended_at = newest.end_time or newest.update_timestamp.timestamp()
    return LastRun(Ended.FAILED if failed else Ended.SUCCEEDED, newest.dagster_run.run_id, ended_at)


def _silent(instance: dg.DagsterInstance, run_id: str, now: float) -> bool:
    newest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return not newest or now - newest[0].event_log_entry.timestamp > SILENT_SECONDS


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
