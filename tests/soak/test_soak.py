"""Five minutes of the soak, always by the same plan; `make soak` takes another each time, and cuts links too."""

from __future__ import annotations

import pytest

from tests.soak.plan import by_kind
from tests.soak.siege import Outcome, soak

MINUTES, SEED = 5, 33


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return soak(MINUTES, SEED, print)


@pytest.mark.own_stack
@pytest.mark.slow
def test_nothing_is_lost_or_doubled_and_no_right_differs_while_faults_strike(outcome: Outcome) -> None:
    assert outcome.broken == []
    assert outcome.acknowledged > 500 and outcome.changes > 500 and outcome.compared > 0
    assert sum(by_kind(outcome.strikes).values()) >= 10
    assert set(outcome.recovery) == set(by_kind(outcome.strikes)), "each fault that was planned has struck"
