"""A plan comes from its seed alone, strikes with each fault before any comes twice, and leaves time at both ends."""

from __future__ import annotations

import itertools
from datetime import date

import pytest

from tests.soak import leaders
from tests.soak.faults import AWAY, FAULTS, KILLED, STOPPED, deck
from tests.soak.plan import FIRST_SECONDS, QUIET_SECONDS, Card, by_kind, plan
from tests.soak.report import put_into
from tests.soak.siege import Outcome

DECK = [Card("a", "x"), Card("b", "y", (5.0, 9.0)), Card("c", "z", once=True)]


def test_the_same_seed_gives_the_same_plan_and_another_another() -> None:
    cards = deck(disk=True, network=True)
    assert plan(7, 1800, cards) == plan(7, 1800, deck(disk=True, network=True))
    assert plan(7, 1800, cards) != plan(8, 1800, cards)


@pytest.mark.parametrize("seed", range(20))
def test_each_fault_comes_before_any_comes_twice_and_one_at_a_time(seed: int) -> None:
    strikes = plan(seed, 600, DECK)
    assert {one.card for one in strikes[: len(DECK)]} == set(DECK)
    assert by_kind(strikes)["c"] == 1
    assert abs(by_kind(strikes)["a"] - by_kind(strikes)["b"]) <= 1
    assert strikes[0].at == FIRST_SECONDS
    for before, after in itertools.pairwise(strikes):
        assert before.at + before.seconds < after.at
    assert strikes[-1].at + strikes[-1].seconds <= 600 - QUIET_SECONDS
    assert all(one.card.seconds[0] <= one.seconds <= one.card.seconds[1] for one in strikes)


def test_half_an_hour_strikes_dozens_of_times_with_everything() -> None:
    cards = deck(disk=True, network=True)
    strikes = plan(1, 1800, cards)
    assert {one.card for one in strikes} == set(cards)
    assert by_kind(strikes)["kill -9"] >= 24, "dozens"


def test_every_card_has_its_fault_and_disk_and_links_are_struck_only_where_there_are_some() -> None:
    assert {card.kind for card in deck(disk=True, network=True)} == set(FAULTS)
    assert {card.kind for card in deck(disk=False, network=False)} == set(FAULTS) - {
        "disk full",
        "link cut",
        "link slow",
    }
    assert len(deck(disk=False, network=False)) > len(KILLED) + len(STOPPED) + len(AWAY)


def test_no_time_and_no_fault_are_said() -> None:
    with pytest.raises(ValueError, match="38 s are too short: the first strike comes after 10 s"):
        plan(1, 38, [Card("b", "y", (5.0, 9.0))])
    with pytest.raises(ValueError, match="no fault"):
        plan(1, 600, [])


def test_figures_take_the_place_of_those_before_and_nothing_else() -> None:
    strikes = plan(3, 600, DECK)
    outcome = Outcome(3, 10, strikes, {"a": [1.0, 3.0, 2.0]}, 4.0, 1200, {"503": 2}, broken=["a promise"])
    page = "before\n<!-- printed by make soak -->\nOLD FIGURES\n<!-- end -->\nafter\n"
    once = put_into(page, outcome, leaders.Outcome(kills=4), date(2026, 11, 30))
    assert once.startswith("before\n") and once.endswith("<!-- end -->\nafter\n") and "OLD" not in once
    assert "| a | " in once and "2.0, 3.0 |" in once and "1,200" in once and "**Broken**: a promise" in once
    assert "make soak MINUTES=10 SEED=3" in once
    assert put_into(once, outcome, leaders.Outcome(kills=4), date(2026, 11, 30)) == once
    with pytest.raises(ValueError, match="no place for figures"):
        put_into("nothing", outcome, leaders.Outcome(), date(2026, 11, 30))
