"""A short soak of any seed: the stack under load, struck at random, and what clients were told compared with what is.

`make soak` has the long ones. What failed here prints its seed, by which it can be had again.
"""

from __future__ import annotations

import os

import pytest

from tests.soak.report import table
from tests.soak.siege import fresh_seed, soak

pytestmark = [pytest.mark.own_stack, pytest.mark.timeout(1800)]


def test_struck_at_random_nothing_is_lost_nothing_doubled_and_no_right_wider() -> None:
    seed = int(os.environ.get("DARKROOM_SOAK_SEED") or fresh_seed())
    # The other lane of `make test` has half of the machine.
    outcome = soak(float(os.environ.get("DARKROOM_SOAK_MINUTES") or 5), seed, print, ease=3)
    print("\n".join(table(outcome)))
    assert outcome.broken == [], f"seed {seed}"
    assert outcome.acknowledged > 100 and outcome.changes > 20 and outcome.compared > 5, "too few to prove anything"
