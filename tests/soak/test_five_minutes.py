"""Five minutes of the soak, always by the same plan; `make soak` takes another each time, and cuts links too."""

from __future__ import annotations

import pytest

from tests.soak.faults import deck
from tests.soak.plan import by_kind
from tests.soak.siege import soak

MINUTES, SEED = 5, 33


@pytest.mark.own_stack
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_nothing_is_lost_or_doubled_and_no_right_differs_while_faults_strike() -> None:
    outcome = soak(MINUTES, SEED, print)
    assert outcome.broken == []
    assert outcome.acknowledged > 500 and outcome.changes > 500 and outcome.compared > 0
    kinds = set(by_kind(outcome.strikes))
    assert kinds >= {card.kind for card in deck(disk=False, network=False)}, "the seed no longer has them all"
    assert set(outcome.recovery) == kinds, "each fault that was planned has struck"
