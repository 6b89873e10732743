"""The Kafka sensor's cursor: what any release wrote, any other loads."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sensors.offset_cursor import VERSION, OffsetCursor

FULL = OffsetCursor(
    topic_id="AAAAAAAAAAAAAAAAAAAAAA",
    watermarks={0: 10, 3: 7},
    observed_at=1_700_000_000.5,
    failures=2,
    judged="run",
    stuck_at="fingerprint",
    retry_at=1_700_000_100.0,
)


def test_a_cursor_comes_back_as_it_was_stored():
    assert OffsetCursor.loads(FULL.dumps()) == FULL
    assert json.loads(FULL.dumps())["version"] == VERSION


@pytest.mark.parametrize(
    "text",
    ['{"0": 10, "3": 7}', '{"watermarks": {"0": 10, "3": 7}}', '{"images.raw": {"0": [2, 10], "3": [0, 7]}}'],
    ids=["bare watermarks", "watermarks by name", "low and high by topic"],
)
def test_a_cursor_from_before_versions_gives_its_watermarks(text: str):
    assert OffsetCursor.loads(text) == OffsetCursor(watermarks={0: 10, 3: 7})


def test_a_cursor_of_a_later_release_gives_what_is_known_of_it():
    later = json.loads(FULL.dumps()) | {"version": VERSION + 7, "mood": "good", "judged": ["a", "b"]}
    assert OffsetCursor.loads(json.dumps(later)) == OffsetCursor(
        FULL.topic_id, FULL.watermarks, FULL.observed_at, FULL.failures, "", FULL.stuck_at, FULL.retry_at
    )


@pytest.mark.parametrize("text", [None, "", "17", "[]", "null", "not json", '"a"', "{}", '{"0": "x", "y": 3}', "\x00"])
def test_a_cursor_that_says_nothing_counts_as_the_first_tick(text: str | None):
    assert OffsetCursor.loads(text) == OffsetCursor()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# A busy machine generates slowly, which says nothing about the cursor.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@example({"version": 1, "failures": float("nan")})
@example({"version": 1, "failures": float("inf")})
@given(st.dictionaries(st.sampled_from([*json.loads(FULL.dumps()), "0", "images.raw"]), ANYTHING))
def test_no_cursor_can_stop_the_sensor(body: dict):
    """A cursor that raises would stop the lane for ever: Dagster hands it to every tick again."""
    OffsetCursor.loads(OffsetCursor.loads(json.dumps(body)).dumps())


@RELAXED
@given(st.text())
def test_no_text_can_stop_the_sensor(text: str):
    OffsetCursor.loads(text)
