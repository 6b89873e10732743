"""Whether the live lane runs now: a pure function of what was seen, so that each rule has a test without a server.

The rules, first that applies:
1. A run of the job is in flight: none is asked for. One run takes everything there is.
2. The newest run failed: a run is asked for again, also when nothing waits (a later step may have failed). Where no
   identifier moved since, only after a back-off, 5 s doubling to 300 s.
3. The last success is six hours old: a run is asked for, so that freshness of the assets means health of the lane.
4. Records wait to be landed or developed: a run is asked for.

A run key is made of watermarks, identifiers and attempt. Dagster ignores a key that was used before, also where that
run failed, so the attempt makes the key new; and where a run succeeded without moving an identifier (only transaction
markers lie beyond it), the same key is not asked for twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from resources.progress import Progress
from sensors.offset_cursor import OffsetCursor

BACKOFF_SECONDS = 5.0
BACKOFF_MOST_SECONDS = 300.0
HEARTBEAT_SECONDS = 6 * 3600.0
OBSERVE_EVERY_SECONDS = 30.0


class Ended(Enum):
    """How the newest run of the job stands."""

    NEVER_RAN = "never ran"
    IN_FLIGHT = "in flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class LastRun:
    """The newest run of the job; `ended_at` in Unix seconds, 0 while unknown."""

    ended: Ended = Ended.NEVER_RAN
    run_id: str = ""
    ended_at: float = 0.0


def standing(seen: Progress) -> str:
    """A fingerprint of what was landed and developed, whatever the broker holds. Bronze's version is in it, for a
    person's word (`darkroom accept-loss`) may be a commit that moves no partition."""
    return _fingerprint({"bronze": seen.bronze_version, **_identifiers(seen)})


def everything(seen: Progress) -> str:
    """A fingerprint of watermarks and identifiers together."""
    return _fingerprint({"high": _plain(seen.high), **_identifiers(seen)})


@dataclass(frozen=True)
class Decision:
    """What a tick does: ask for a run under `run_key`, or skip with `reason`; the cursor to keep."""

    cursor: OffsetCursor
    reason: str
    run_key: str | None = None


def judge(cursor: OffsetCursor, last: LastRun, now_at: str) -> OffsetCursor:
    """Count the end of the newest run, once: a failure adds to the back-off, a success or any movement ends it."""
    if last.ended is Ended.FAILED and last.run_id != cursor.judged:
        failures = cursor.failures + 1 if cursor.stuck_at == now_at else 1
        wait = min(BACKOFF_MOST_SECONDS, BACKOFF_SECONDS * 2 ** min(failures - 1, 16))
        return replace(cursor, failures=failures, judged=last.run_id, stuck_at=now_at, retry_at=last.ended_at + wait)
    moved = cursor.stuck_at != "" and cursor.stuck_at != now_at
    if last.ended is Ended.SUCCEEDED or moved:
        judged = last.run_id if last.ended in (Ended.SUCCEEDED, Ended.FAILED) else cursor.judged
        return replace(cursor, failures=0, judged=judged, stuck_at="", retry_at=0.0)
    return cursor


def decide(cursor: OffsetCursor, seen: Progress, last: LastRun, now: float) -> Decision:
    """Apply the rules above. `now` in Unix seconds."""
    if last.ended is Ended.IN_FLIGHT:
        return Decision(cursor, f"run {last.run_id[:8]} is in flight; it takes what there is, the next takes the rest")
    cursor = judge(cursor, last, standing(seen))
    to_land, to_develop = seen.to_land(), seen.to_develop()
    if last.ended is Ended.FAILED:
        if now < cursor.retry_at:
            wait = round(cursor.retry_at - now)
            failed = f"run {last.run_id[:8]} failed ({cursor.failures} in a row); asked for again in {wait} s"
            return Decision(cursor, failed)
        again = f"after the failure of run {last.run_id[:8]}"
        return Decision(cursor, again, run_key=f"{everything(seen)}-{cursor.failures}-{last.run_id[:8]}")
    if last.ended is Ended.SUCCEEDED and now - last.ended_at > HEARTBEAT_SECONDS:
        return Decision(cursor, "the last run is six hours old", run_key=f"{everything(seen)}-at-{int(last.ended_at)}")
    if to_land or to_develop:
        return Decision(cursor, f"{to_land} offsets to land, {to_develop} to develop", run_key=f"{everything(seen)}-0")
    return Decision(cursor, "nothing new: landed and developed up to the watermarks")


@dataclass(frozen=True)
class Movement:
    """What became of the watermarks since they were last observed: records and records per second (0 at first)."""

    records: int
    per_second: float


def movement(cursor: OffsetCursor, seen: Progress, now: float) -> Movement | None:
    """The movement worth an observation in Dagster, at most one every 30 s; None where there is none."""
    same_topic = cursor.topic_id in ("", seen.topic_id)
    before = cursor.watermarks if same_topic else {}
    records = sum(max(0, high - before.get(p, seen.low.get(p, 0))) for p, high in seen.high.items())
    if (records == 0 and same_topic) or now - cursor.observed_at < OBSERVE_EVERY_SECONDS:
        return None
    first = cursor.observed_at == 0.0 or not same_topic
    return Movement(records, 0.0 if first else records / (now - cursor.observed_at))


def observed(cursor: OffsetCursor, seen: Progress, now: float) -> OffsetCursor:
    """The cursor after the watermarks were observed in Dagster."""
    return replace(cursor, topic_id=seen.topic_id, watermarks=dict(seen.high), observed_at=now)


def _identifiers(seen: Progress) -> dict[str, object]:
    return {"topic": seen.topic_id, "landed": _plain(seen.landed), "developed": _plain(seen.developed)}


def _plain(offsets: Mapping[int, int]) -> dict[str, int]:
    return {str(partition): offsets[partition] for partition in sorted(offsets)}


def _fingerprint(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]
