"""Days developed anew: the same rows for the same records, whatever was stopped, and no identifier moved."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from resources import backfill
from resources.backfill import days_held, redevelop_day, remeasure_day
from resources.compute import LocalCompute, Tools
from resources.featuring import compute_features
from resources.lake import CommitConflict
from resources.lake_commits import until_committed
from resources.progress import developing_of
from resources.tracked_table import TrackedTable
from resources.upkeep import maintain
from tests.resources.developing.bronze_rows import DAY, TOPIC
from tests.resources.developing.stage import LATER, Killed, Stage, picture, scan
from transforms.landing_protocol import Position
from transforms.reasons import Reason
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES

START = datetime(2026, 3, 6, 8, 0, tzinfo=UTC)
ANEW = START + timedelta(minutes=1)
NEXT = DAY + timedelta(days=1)


def local(stage: Stage, **changed: object) -> LocalCompute:
    return LocalCompute(
        stage.lake, Tools(stage.settings.model_copy(update=changed), stage.keys, pool_of(stage, changed))
    )


def pool_of(stage: Stage, changed: dict[str, object]):
    from resources.decoding import DecodePool

    if not changed:
        return stage.pool
    return DecodePool(stage.settings.model_copy(update={"decode_workers": 1, **changed}))


@pytest.fixture
def filled(stage: Stage) -> Stage:
    """Three commits of a day, one of the next, a resend and a bad record."""
    for batch in range(3):
        for number in range(4):
            stage.bronze.sealed(scan(batch * 10 + number), partition=number % 2)
        if batch:
            stage.bronze.sealed(scan(1), partition=0)
        stage.bronze.land()
        stage.develop()
    stage.bronze.sealed(b"no image")
    stage.bronze.sealed(picture(50), day=NEXT, row_day=NEXT)
    stage.bronze.land()
    stage.develop()
    return stage


def identifiers(stage: Stage) -> dict[int, int]:
    table = TrackedTable(stage.lake, PROCESSED_IMAGES, developing_of)
    return {one: table.last(Position(TOPIC, one, stage.bronze.topic_id)) for one in (0, 1)}


def again(stage: Stage, **changed: object):
    return redevelop_day(stage.lake, local(stage, **changed), DAY, START, now=lambda: ANEW)


def test_a_day_is_replaced_and_no_identifier_and_no_other_day_moves(filled: Stage) -> None:
    before, moved = filled.processed(), identifiers(filled)
    assert days_held(filled.lake, DAY, NEXT) == {DAY: 12, NEXT: 1}
    done = again(filled, thumbnail_pixels=32)
    assert (done.files, done.rows, done.kept, done.quarantined) == (3, 12, 0, 0)
    after = filled.processed()
    clear = pl.exclude("processed_at", *PROCESSED_IMAGES.sealed)
    assert after.select(clear).equals(before.select(clear))
    assert after.filter(day=DAY)["processed_at"].unique().to_list() == [ANEW]
    assert after.filter(day=NEXT).equals(before.filter(day=NEXT))
    assert identifiers(filled) == moved
    for row, old in zip(after.to_dicts(), before.to_dicts(), strict=True):
        for column in ("sha256", "label", "uploader", "filename"):
            assert filled.opened(row, column) == filled.opened(old, column)
    assert filled.develop().records == 0
    filled.bronze.sealed(scan(99))
    filled.bronze.land()
    assert filled.develop().processed == 1, "the live lane goes on behind it"


def test_stopped_in_the_middle_it_goes_on_where_it_was(filled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = TrackedTable.replace_files, 0

    def dies(self: TrackedTable, *arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise Killed
        real(self, *arguments)

    monkeypatch.setattr(TrackedTable, "replace_files", dies)
    with pytest.raises(Killed):
        again(filled)
    done = again(filled)
    assert (done.files, done.rows, done.done_before) == (2, 8, 4)
    assert again(filled).done_before == 12
    assert filled.processed().height == filled.processed()["id"].n_unique() == 13


def test_what_is_no_image_by_the_new_limits_goes_to_quarantine_and_back(
    filled: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrackedTable.replace_files

    def dies(self: TrackedTable, *arguments: object) -> None:
        monkeypatch.setattr(TrackedTable, "replace_files", real)
        raise Killed

    monkeypatch.setattr(TrackedTable, "replace_files", dies)
    with pytest.raises(Killed):
        again(filled, max_pixels=4)
    assert (filled.processed().height, len(filled.reasons())) == (13, 5), "in both, and lost in neither"
    assert again(filled, max_pixels=4).quarantined == 12
    assert filled.processed().height == 1
    assert sorted(filled.reasons()) == sorted([Reason.NOT_AN_IMAGE.value, *[Reason.TOO_MANY_PIXELS.value] * 12])
    assert filled.replay(Reason.TOO_MANY_PIXELS).replayed == 12
    assert filled.processed().height == 13


def test_what_cannot_be_opened_any_more_keeps_its_row(filled: Stage) -> None:
    before = filled.processed()
    names = before.filter(day=DAY)["key"].unique().to_list()
    for name in names:
        filled.keys.destroy_key(name, "a test")
    done = again(filled)
    assert (done.rows, done.kept, done.quarantined) == (0, 12, 0)
    assert filled.processed().equals(before)


def test_another_writer_and_upkeep_in_between_are_got_over(filled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real, disturbed = TrackedTable.replace_files, []

    def beside(self: TrackedTable, *arguments: object) -> None:
        if len(disturbed) < 2:
            disturbed.append(1)
            filled.bronze.sealed(scan(200 + len(disturbed)))
            filled.bronze.land()
            filled.develop()
            maintain(filled.lake, PROCESSED_IMAGES)
        real(self, *arguments)

    monkeypatch.setattr(TrackedTable, "replace_files", beside)
    again(filled)
    table = filled.processed()
    assert (table.height, table["id"].n_unique()) == (15, 15)
    assert len(disturbed) == 2


def test_it_gives_up_when_others_are_always_first(filled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "until_committed", functools.partial(until_committed, tries=2))

    def refuses(self: TrackedTable, *arguments: object) -> None:
        raise CommitConflict("another was first")

    monkeypatch.setattr(TrackedTable, "replace_files", refuses)
    with pytest.raises(CommitConflict):
        again(filled)


def test_vectors_of_old_thumbnails_are_made_anew(filled: Stage) -> None:
    compute_features(filled.lake, filled.keys, now=lambda: LATER)
    assert remeasure_day(filled.lake, DAY) == 0
    again(filled)
    assert remeasure_day(filled.lake, DAY) == 12
    done = compute_features(filled.lake, filled.keys, now=lambda: ANEW + timedelta(minutes=1))
    assert done.rows == 12
    vectors = pl.read_delta(filled.lake.uri(IMAGE_FEATURES.name))
    assert (vectors.height, vectors["id"].n_unique()) == (13, 13)
    assert remeasure_day(filled.lake, DAY) == 0


def test_days_that_are_none_are_refused(filled: Stage) -> None:
    with pytest.raises(ValueError, match="must not be after"):
        days_held(filled.lake, NEXT, DAY)
