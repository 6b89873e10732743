"""Developing from bronze: each record to one row of one table."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from cli.hostile import hostile_kinds, sound_jpeg, sound_png
from resources import developing
from resources.postgres import StatusRow
from resources.progress import read_progress
from resources.replay import ReplayResult
from resources.upkeep import maintain
from tests.resources.developing.bronze_rows import DAY, NOW, TOPIC, TOPIC_ID, Bronze
from tests.resources.developing.stage import LATER, Stage, picture
from transforms.landing_protocol import Position, TopicState
from transforms.names import image_id, pseudonym
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES


def test_a_sealed_image_becomes_one_row_with_its_words_sealed(stage: Stage) -> None:
    id = stage.bronze.sealed(sound_jpeg(), label="grün")
    stage.bronze.land()
    result = stage.develop()
    assert (result.records, result.processed, result.quarantined, result.duplicates) == (1, 1, {}, 0)
    [row] = stage.processed().to_dicts()
    assert (row["id"], row["day"], row["format"], row["width"], row["height"]) == (id, DAY, "JPEG", 320, 240)
    assert row["pseudonym"] == pseudonym(stage.keys.platform_secret(), "ada", DAY)
    assert (row["groups"], row["via"], row["bytes"]) == (["photo"], "uploads", len(sound_jpeg()))
    assert (row["appended_at"], row["processed_at"], row["uploaded_at"]) == (NOW, LATER, NOW - timedelta(seconds=1))
    assert stage.opened(row, "label") == "grün".encode()
    assert stage.opened(row, "uploader") == b"ada"
    assert stage.opened(row, "filename") == b"a name.png"
    assert (stage.opened(row, "thumbnail") or b"")[8:12] == b"WEBP"
    assert len(stage.opened(row, "sha256") or b"") == 32
    assert stage.board.rows == [StatusRow(id, DAY, row["pseudonym"], "processed")]


def test_no_word_of_an_image_lies_in_the_clear_in_the_lake(stage: Stage) -> None:
    stage.bronze.sealed(sound_jpeg(), label="a-label-nobody-may-read", uploader="a-name-nobody-may-read")
    stage.bronze.sealed(b"not an image by a-name-nobody-may-read", label="a-label-nobody-may-read")
    stage.bronze.land()
    stage.develop()
    for file in Path(stage.settings.lake_root).rglob("*"):
        if file.is_file():
            assert b"nobody-may-read" not in file.read_bytes(), file


def test_an_unsealed_image_is_developed_under_a_key_of_the_platform_s(stage: Stage) -> None:
    stage.bronze.plain(picture(1), [("label", b"seven"), ("trace", b"x")], key=None)
    stage.bronze.land()
    stage.develop()
    [row] = stage.processed().to_dicts()
    assert row["id"] == image_id(stage.keys.platform_secret(), "", stage.opened(row, "sha256") or b"", DAY)
    assert (row["via"], row["groups"], row["uploaded_at"]) == (None, [], row["appended_at"])
    assert stage.opened(row, "label") == b"seven"
    assert stage.opened(row, "uploader") == b""


def test_unsealed_images_are_quarantined_where_only_sealed_ones_are_taken(stage: Stage) -> None:
    stage.bronze.plain(picture(1))
    stage.bronze.sealed(picture(2))
    stage.bronze.land()
    assert stage.develop(unsealed="quarantine").quarantined == {Reason.NOT_SEALED: 1}
    assert stage.processed().height == 1


@pytest.mark.parametrize(
    ("header", "kept"), [(b"a" * 26, True), (b"A" * 26, False), (b"a" * 25, False), (b"../../etc/passwd", False)]
)
def test_a_given_id_is_used_if_it_has_the_form_of_one(stage: Stage, header: bytes, kept: bool) -> None:
    stage.bronze.plain(picture(1), [("id", header)])
    stage.bronze.land()
    stage.develop()
    [id] = stage.processed()["id"]
    assert (id.encode() == header) is kept
    assert len(id) == 26


def test_every_hostile_kind_has_one_row_with_its_reason_and_good_ones_between_are_developed(stage: Stage) -> None:
    kinds = hostile_kinds()
    for number, kind in enumerate(kinds):
        stage.bronze.plain(kind.body, kind.headers, key=kind.key)
        stage.bronze.sealed(picture(number))
        if kind.body and not kind.straight:
            stage.bronze.sealed(kind.body)
    stage.bronze.land()
    result = stage.develop()
    quarantined = {row["offset"]: row for row in stage.quarantined().to_dicts()}
    developed = set(stage.processed()["offset"])
    offset = 0
    for kind in kinds:
        found = "processed" if offset in developed else quarantined[offset]["reason"]
        assert found in kind.expected, (kind.name, found)
        assert offset + 1 in developed, f"the good image after {kind.name}"
        offset += 2
        if kind.body and not kind.straight:
            found = "processed" if offset in developed else quarantined[offset]["reason"]
            assert found in kind.expected, (kind.name, "sealed", found)
            offset += 1
    # Two kinds hold a picture that another record holds too; a resend adds no row.
    assert len(quarantined) + len(developed) + result.duplicates == offset == result.records
    assert all(row["detail"] for row in quarantined.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"change_payload": True}, Reason.TAMPERED),
        ({"change_headers": {"id": b"z" * 26}}, Reason.TAMPERED),
        ({"change_headers": {"day": b"2026-03-04"}}, Reason.TAMPERED),
        ({"change_headers": {"v": b"2"}}, Reason.UNKNOWN_VERSION),
        ({"change_headers": {"v": b"\xff"}}, Reason.UNKNOWN_VERSION),
        ({"change_headers": {"key": b"2026-03-05_" + b"a" * 16 + b"_" + b"b" * 13}}, Reason.UNKNOWN_KEY),
        ({"change_headers": {"key": b"\xff\xfe"}}, Reason.TAMPERED),
        ({"sha256": b"\0" * 32}, Reason.HASH_MISMATCH),
    ],
    ids=lambda value: str(value),
)
def test_a_sealed_record_that_was_altered_is_quarantined(
    stage: Stage, change: dict[str, object], reason: Reason
) -> None:
    id = stage.bronze.sealed(picture(1), **change)  # type: ignore[arg-type]
    stage.bronze.land()
    assert stage.develop().quarantined == {reason: 1}
    [row] = stage.quarantined().to_dicts()
    believed = reason is Reason.HASH_MISMATCH
    assert row["id"] == (id if believed else None), "headers in clear prove nothing"
    assert len(stage.board.rows) == (1 if believed else 0)


def test_erased_images_and_destroyed_keys_have_their_reasons(stage: Stage) -> None:
    erased = stage.bronze.sealed(picture(1))
    stage.bronze.sealed(picture(2), uploader="bob")
    stage.bronze.sealed(picture(3), uploader="eve")
    stage.bronze.land()
    stage.keys.mark_erased(DAY, erased, "test")
    [name] = stage.keys.key_names(DAY, pseudonym(stage.keys.platform_secret(), "bob", DAY))
    stage.keys.destroy_key(name, "someone")
    assert stage.develop().quarantined == {Reason.ERASED: 1, Reason.KEY_DESTROYED: 1}
    rows = stage.quarantined().to_dicts()
    assert [row["id"] for row in rows] == [erased, None]
    assert all("someone" not in row["detail"] for row in rows), "who erased is no business of this table"
    assert stage.processed()["offset"].to_list() == [2]


def test_a_destroyed_day_takes_no_unsealed_image_either(stage: Stage) -> None:
    stage.bronze.plain(picture(1))
    stage.bronze.land()
    stage.keys.destroy_day(DAY, "test")
    assert stage.develop().quarantined == {Reason.KEY_DESTROYED: 1}


def test_a_sealed_image_over_the_limit_is_too_large(stage: Stage) -> None:
    image = sound_png().ljust(70_000, b"\0")
    stage.bronze.sealed(image)
    stage.bronze.sealed(image + bytes(200_000))
    stage.bronze.land()
    assert stage.develop(max_image_bytes=len(image) - 1).quarantined == {Reason.TOO_LARGE: 2}


def test_running_again_adds_nothing_and_new_records_are_added(stage: Stage) -> None:
    for number in range(5):
        stage.bronze.sealed(picture(number), partition=number % 2)
    stage.bronze.plain(b"", partition=1)
    stage.bronze.land()
    stage.develop()
    again = stage.develop()
    assert (again.records, again.processed, again.commits) == (0, 0, 0)
    stage.bronze.sealed(picture(9), partition=1)
    stage.bronze.land()
    more = stage.develop()
    assert (more.records, more.processed) == (1, 1)
    assert more.positions == {Position(TOPIC, 0, TOPIC_ID): 2, Position(TOPIC, 1, TOPIC_ID): 3}


def test_both_tables_say_how_far_developing_came_though_nothing_was_bad(stage: Stage) -> None:
    stage.bronze.sealed(picture(1), partition=0)
    stage.bronze.sealed(picture(2), partition=3)
    stage.bronze.land()
    stage.develop()
    state = TopicState(TOPIC, TOPIC_ID, {0: (0, 1), 3: (0, 1)})
    assert read_progress(stage.lake, state).to_develop() == 0


def test_a_resend_adds_no_row(stage: Stage) -> None:
    for _ in range(3):
        stage.bronze.sealed(picture(1))
    stage.bronze.land()
    stage.bronze.sealed(picture(1), partition=2)
    stage.bronze.land()
    first = stage.develop()
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    second = stage.develop()
    assert stage.processed()["offset"].to_list() == [0]
    assert (first.duplicates, second.duplicates) == (3, 1)


def test_two_people_with_one_picture_have_a_row_each_and_the_later_points_at_the_earlier(stage: Stage) -> None:
    first = stage.bronze.sealed(sound_jpeg(), uploader="ada")
    stage.bronze.land()
    stage.develop()
    second = stage.bronze.sealed(sound_jpeg(), uploader="bob")
    lossless = io.BytesIO()
    Image.open(io.BytesIO(sound_jpeg())).save(lossless, "PNG")
    third = stage.bronze.sealed(lossless.getvalue(), uploader="eve")
    stage.bronze.land()
    stage.develop()
    rows = {row["id"]: row["near_duplicate_of"] for row in stage.processed().to_dicts()}
    assert rows == {first: None, second: first, third: first}


def test_near_duplicates_are_looked_for_within_their_day(stage: Stage) -> None:
    stage.bronze.sealed(sound_jpeg(), uploader="ada")
    stage.bronze.sealed(sound_jpeg(), uploader="ada", day=DAY - timedelta(days=1))
    stage.bronze.land()
    stage.develop()
    assert stage.processed()["near_duplicate_of"].to_list() == [None, None]


def test_a_row_whose_day_is_not_its_key_s_opens_with_the_key_s_day(stage: Stage) -> None:
    stage.bronze.sealed(picture(1), day=DAY - timedelta(days=3), row_day=DAY)
    stage.bronze.land()
    assert stage.develop().processed == 1
    [row] = stage.processed().to_dicts()
    assert row["day"] == DAY
    assert stage.opened(row, "label") == b"a label"


def test_progress_reaches_the_number_of_records(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(developing, "CHUNK_RECORDS", 4)
    for number in range(10):
        stage.bronze.sealed(picture(number))
    stage.bronze.land()
    told: list[tuple[int, int]] = []
    stage.developer().develop(lambda done, total: told.append((done, total)))
    assert told[-1] == (10, 10)
    assert len(told) >= 3
    assert stage.processed().height == 10


def test_a_topic_made_anew_is_developed_beside_the_old_one(stage: Stage) -> None:
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    stage.develop()
    anew = Bronze(stage.lake, stage.keys, topic_id="BBBBBBBBBBBBBBBBBBBBBB")
    anew.sealed(picture(2))
    anew.land()
    assert stage.develop().processed == 1
    assert sorted(stage.processed()["topic_id"]) == [TOPIC_ID, "BBBBBBBBBBBBBBBBBBBBBB"]


def test_a_topic_made_anew_twice_is_developed_out_of_one_compacted_file(stage: Stage) -> None:
    """Statistics of a file name the smallest and the largest topic id, and not the one between."""
    ids = []
    for letter in "ABC":
        bronze = Bronze(stage.lake, stage.keys, topic_id=letter * 22)
        ids.append(bronze.sealed(picture(ord(letter))))
        bronze.land()
    maintain(stage.lake, RAW_IMAGES)
    assert stage.develop().processed == 3
    assert sorted(stage.processed()["id"]) == sorted(ids)


def test_an_empty_lake_is_no_error_and_makes_the_tables(stage: Stage) -> None:
    assert stage.develop().records == 0
    assert stage.lake.exists(PROCESSED_IMAGES.name) and stage.lake.exists(QUARANTINED_IMAGES.name)
    assert stage.replay() == ReplayResult(0, 0, 0, 0, {})
