"""Quarantine tried again: each image lands once, alone or beside the live lane."""

from __future__ import annotations

import pytest

from resources.derived_tables import DerivedTables
from resources.replay import ReplayResult
from tests.resources.developing.stage import Killed, Stage, beside, picture
from transforms.reasons import Reason


def test_the_live_lane_and_a_replay_at_once_write_an_image_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    id = stage.bronze.plain(picture(1))
    stage.bronze.land()
    stage.develop(unsealed="quarantine")
    # The same picture comes once more while its quarantined record is replayed.
    stage.bronze.plain(picture(1))
    stage.bronze.land()
    beside(stage, monkeypatch, "add_processed", stage.replay)
    stage.develop()
    assert stage.processed()["offset"].to_list() == [id]
    assert stage.quarantined().height == 0


def test_a_replay_with_the_live_lane_inside_it_writes_an_image_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.bronze.plain(picture(1))
    stage.bronze.land()
    stage.develop(unsealed="quarantine")
    stage.bronze.plain(picture(1))
    stage.bronze.land()
    beside(stage, monkeypatch, "add_processed", stage.develop)
    assert stage.replay().replayed == 1
    assert stage.processed()["offset"].to_list() == [1]
    assert stage.quarantined().height == 0


def test_replay_moves_what_is_good_now_and_leaves_the_rest_as_it_is(stage: Stage) -> None:
    for number in range(4):
        stage.bronze.plain(picture(number), partition=number % 2)
        stage.bronze.plain(b"bad", partition=number % 2)
    stage.bronze.land()
    stage.develop(unsealed="quarantine")
    positions = stage.develop().positions
    assert stage.replay(Reason.TAMPERED) == ReplayResult(0, 0, 0, 0, {})
    result = stage.replay(Reason.NOT_SEALED)
    assert (result.tried, result.replayed, result.still_quarantined, result.gone) == (8, 4, 4, 0)
    assert stage.processed().height == 4
    assert stage.reasons() == ["not_sealed"] * 4
    assert stage.develop().positions == positions, "a replay moves no offset"
    assert stage.replay().replayed == 0


def test_the_projection_hears_of_a_replayed_image(stage: Stage) -> None:
    id = stage.bronze.sealed(picture(1))
    stage.bronze.land()
    stage.develop(max_image_bytes=10)
    stage.replay()
    assert [(row.id, row.state, row.reason) for row in stage.board.rows] == [
        (id, "quarantined", "too_large"),
        (id, "processed", None),
    ]


def test_a_replay_killed_between_its_two_commits_ends_well_when_run_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.bronze.plain(picture(1))
    stage.bronze.land()
    stage.develop(unsealed="quarantine")

    def killed(*_: object) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(DerivedTables, "remove_quarantined", killed)
        with pytest.raises(Killed):
            stage.replay()
    assert (stage.processed().height, stage.quarantined().height) == (1, 1)
    stage.replay()
    assert (stage.processed().height, stage.quarantined().height) == (1, 0)
