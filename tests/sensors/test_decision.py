"""When the live lane runs: each rule of the sensor, without a server."""

from dataclasses import replace

import pytest

from resources.progress import Progress
from sensors.decision import (
    BACKOFF_MOST_SECONDS,
    HEARTBEAT_SECONDS,
    OBSERVE_EVERY_SECONDS,
    Ended,
    LastRun,
    decide,
    movement,
    observed,
)
from sensors.offset_cursor import OffsetCursor

NOW = 1_800_000_000.0
SETTLED = Progress("images.raw", "A" * 22, {0: 0, 1: 5}, {0: 10, 1: 8}, {0: 9, 1: 7}, {0: 9, 1: 7}, bronze_version=4)
FRESH = OffsetCursor()


def seen(**changes) -> Progress:
    """A stream that is landed and developed, with one thing changed."""
    return replace(SETTLED, **changes)


def failed(run: str = "run-a", at: float = NOW) -> LastRun:
    return LastRun(Ended.FAILED, run, at)


def succeeded(at: float = NOW) -> LastRun:
    return LastRun(Ended.SUCCEEDED, "run-s", at)


def test_nothing_new_asks_for_nothing():
    assert decide(FRESH, SETTLED, succeeded(), NOW).run_key is None


def test_an_empty_topic_asks_for_nothing():
    empty = Progress("images.raw", "A" * 22, {0: 0}, {0: 0}, {}, {})
    assert decide(FRESH, empty, LastRun(), NOW).run_key is None


@pytest.mark.parametrize(
    "waiting",
    [
        seen(high={0: 11, 1: 8}),
        seen(landed={1: 7}, developed={1: 7}),
        seen(developed={0: 9}),
        seen(developed={0: 9, 1: 6}),
        seen(topic_id="B" * 22, landed={}, developed={}),
    ],
    ids=["a new record", "a partition never landed", "one never developed", "half-finished", "a topic made anew"],
)
def test_whatever_waits_asks_for_a_run(waiting: Progress):
    assert decide(FRESH, waiting, succeeded(), NOW).run_key


def test_what_the_broker_deleted_before_the_first_landing_is_not_waited_for():
    first = Progress("images.raw", "A" * 22, {0: 100}, {0: 100}, {}, {})
    assert first.to_land() == 0
    assert decide(FRESH, first, LastRun(), NOW).run_key is None


def test_one_run_at_a_time():
    decision = decide(FRESH, seen(high={0: 99, 1: 8}), LastRun(Ended.IN_FLIGHT, "run-i"), NOW)
    assert decision.run_key is None
    assert "in flight" in decision.reason


def test_the_same_backlog_has_the_same_key_and_another_has_another():
    """Dagster ignores a key it has seen: a run that could not move past transaction markers is not asked for again."""
    waiting = seen(high={0: 11, 1: 8})
    key = decide(FRESH, waiting, succeeded(), NOW).run_key
    assert decide(FRESH, waiting, succeeded(NOW + 60), NOW + 60).run_key == key
    assert decide(FRESH, seen(high={0: 12, 1: 8}), succeeded(), NOW).run_key != key
    assert decide(FRESH, seen(high={0: 11, 1: 8}, developed={0: 8, 1: 7}), succeeded(), NOW).run_key != key


def test_a_failed_run_is_asked_for_again_under_another_key_and_later_each_time():
    """Dagster ignores the key of a run that failed: without the attempt in it, the backlog would wait for ever."""
    waiting = seen(high={0: 11, 1: 8})
    keys = {decide(FRESH, waiting, succeeded(), NOW).run_key}
    cursor, now, waits = FRESH, NOW, []
    for number in range(9):
        last = failed(f"run-{number}", now)
        skipped = decide(cursor, waiting, last, now)
        assert skipped.run_key is None and f"{number + 1} in a row" in skipped.reason
        waits.append(skipped.cursor.retry_at - now)
        # The cursor travels as text, as in Dagster.
        cursor = OffsetCursor.loads(skipped.cursor.dumps())
        now = cursor.retry_at
        again = decide(cursor, waiting, last, now)
        assert again.run_key not in keys
        keys.add(again.run_key)
        cursor = again.cursor
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert max(waits) == BACKOFF_MOST_SECONDS


def test_the_end_of_one_run_is_counted_once():
    waiting = seen(high={0: 11, 1: 8})
    cursor = FRESH
    for tick in range(4):
        cursor = decide(cursor, waiting, failed(), NOW + tick).cursor
    assert cursor.failures == 1


def test_a_success_ends_the_back_off():
    cursor = replace(FRESH, failures=7, judged="run-a", stuck_at="there", retry_at=NOW + 300)
    decision = decide(cursor, seen(high={0: 11, 1: 8}), succeeded(), NOW)
    assert decision.run_key
    assert decision.cursor.failures == 0


@pytest.mark.parametrize(
    "moved",
    [seen(high={0: 20, 1: 8}, landed={0: 10, 1: 7}), seen(high={0: 20, 1: 8}, bronze_version=5)],
    ids=["records landed by hand", "a loss accepted in a commit that moves no partition"],
)
def test_any_movement_ends_the_back_off(moved: Progress):
    stuck = seen(high={0: 20, 1: 8})
    cursor = decide(FRESH, stuck, failed("run-b"), NOW).cursor
    assert decide(cursor, stuck, failed("run-b"), NOW + 1).run_key is None
    assert decide(cursor, moved, failed("run-b"), NOW + 1).run_key


def test_more_uploads_do_not_end_the_back_off():
    """Under load the watermarks move every second: they must not turn a back-off into a storm of failing runs."""
    cursor = decide(FRESH, seen(high={0: 20, 1: 8}), failed(), NOW).cursor
    assert decide(cursor, seen(high={0: 999, 1: 8}), failed(), NOW + 1).run_key is None


def test_a_run_that_failed_behind_developing_is_asked_for_again():
    """Landed and developed, then gold or a check failed: nothing waits in the offsets, and the work is not done."""
    cursor = decide(FRESH, SETTLED, failed(), NOW).cursor
    assert decide(cursor, SETTLED, failed(), cursor.retry_at).run_key


def test_a_quiet_lane_runs_every_six_hours_so_that_freshness_means_health():
    assert decide(FRESH, SETTLED, succeeded(NOW - HEARTBEAT_SECONDS + 1), NOW).run_key is None
    first = decide(FRESH, SETTLED, succeeded(NOW - HEARTBEAT_SECONDS - 1), NOW).run_key
    second = decide(FRESH, SETTLED, succeeded(NOW), NOW + HEARTBEAT_SECONDS + 1).run_key
    assert first and second and first != second


def test_watermarks_are_observed_when_they_moved_and_not_every_tick():
    first = movement(FRESH, SETTLED, NOW)
    assert first is not None and (first.records, first.per_second) == (13, 0.0)
    cursor = observed(FRESH, SETTLED, NOW)
    later = NOW + OBSERVE_EVERY_SECONDS
    assert movement(cursor, SETTLED, later) is None
    assert movement(cursor, seen(high={0: 40, 1: 8}), NOW + 1) is None
    second = movement(cursor, seen(high={0: 40, 1: 8}), later)
    assert second is not None and (second.records, second.per_second) == (30, 1.0)


def test_a_topic_made_anew_is_observed_from_its_beginning():
    cursor = observed(FRESH, SETTLED, NOW)
    anew = Progress("images.raw", "B" * 22, {0: 0}, {0: 3}, {}, {})
    moved = movement(cursor, anew, NOW + OBSERVE_EVERY_SECONDS)
    assert moved is not None and (moved.records, moved.per_second) == (3, 0.0)
