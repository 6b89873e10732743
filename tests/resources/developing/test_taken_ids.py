"""Whoever may write to the topic may write any id in a header: that takes no image from the one whose id it is."""

from __future__ import annotations

import pytest

from resources.derived_tables import DerivedTables
from resources.status_rebuild import rebuild
from tests.resources.developing.bronze_rows import Bronze
from tests.resources.developing.stage import Board, Killed, Stage, picture
from transforms.reasons import Reason


def victim_of(bronze: Bronze, *, plain: bytes, partition: int = 0) -> str:
    """A sealed image in partition 3, and in `partition` an unsealed record that gives the same id."""
    id = bronze.sealed(picture(1), partition=3)
    bronze.plain(plain, [("id", id.encode())], partition=partition)
    return id


def test_a_sealed_image_is_developed_though_an_unsealed_record_took_its_id_in_the_same_chunk(stage: Stage) -> None:
    id = victim_of(stage.bronze, plain=picture(2))
    stage.bronze.land()
    result = stage.develop()
    [row] = stage.processed().to_dicts()
    assert (row["id"], row["via"], row["partition"]) == (id, "uploads", 3)
    assert stage.opened(row, "label") == b"a label"
    assert (result.processed, result.duplicates) == (1, 1)


def test_a_sealed_image_is_developed_though_an_unsealed_record_took_its_id_a_run_earlier(stage: Stage) -> None:
    sealed = Bronze(stage.lake, stage.keys)
    id = victim_of(sealed, plain=picture(1))
    impostor, image = sealed.rows.pop(), sealed.rows.pop()
    sealed.rows = [impostor]
    stage.bronze.plain(picture(7))
    sealed.offsets = {0: 0}
    sealed.land()
    assert stage.develop().processed == 1
    sealed.rows, sealed.offsets = [image], {3: 0}
    sealed.land()
    assert stage.develop().processed == 1
    [row] = stage.processed().to_dicts()
    assert (row["id"], row["via"], row["near_duplicate_of"]) == (id, "uploads", None)
    sealed.rows = [image | {"partition": 2}]
    sealed.offsets = {2: 0}
    sealed.land()
    assert stage.develop().duplicates == 1


def test_killed_between_taking_the_false_row_away_and_writing_the_true_one_nothing_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bronze = stage.bronze
    victim_of(bronze, plain=picture(2))
    rows, bronze.rows = bronze.rows, bronze.rows[1:]
    bronze.land()
    stage.develop()
    bronze.rows, bronze.offsets = rows[:1], {3: 0}
    bronze.land()

    def killed(self: DerivedTables, rows: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DerivedTables, "_near", killed)
        stage.develop()
    assert stage.processed().is_empty()
    stage.develop()
    assert stage.processed()["via"].to_list() == ["uploads"]


def test_an_unsealed_record_that_comes_later_is_a_resend_of_nothing_new(stage: Stage) -> None:
    id = stage.bronze.sealed(picture(1))
    stage.bronze.plain(picture(2), [("id", id.encode())])
    stage.bronze.land()
    stage.develop()
    assert stage.processed()["via"].to_list() == ["uploads"]


@pytest.mark.parametrize("plain", [picture(2), b"no image at all"])
def test_the_projection_hears_of_an_id_from_sealed_records_alone(stage: Stage, plain: bytes) -> None:
    id = victim_of(stage.bronze, plain=plain)
    stage.bronze.land()
    stage.develop()
    assert [(row.id, row.state) for row in stage.board.rows] == [(id, "processed")]
    again = Board()
    rebuild(stage.lake, again)  # pyrefly: ignore[bad-argument-type]  # it only puts rows
    assert again.rows == stage.board.rows


def test_a_quarantined_image_of_a_door_is_still_told(stage: Stage) -> None:
    id = stage.bronze.sealed(b"no image at all")
    stage.bronze.land()
    stage.develop()
    again = Board()
    rebuild(stage.lake, again)  # pyrefly: ignore[bad-argument-type]  # it only puts rows
    assert [(row.id, row.reason) for row in again.rows] == [(id, Reason.NOT_AN_IMAGE)]
    assert again.rows == stage.board.rows
