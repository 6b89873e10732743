"""Corrections win over the labels that images were sent with, and only those that may be believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from resources.bronze import read_since
from resources.corrections import NO_IMAGE, NOT_SEALED, OTHER_KEY, TAMPERED, corrected_ids
from resources.decoding import DecodePool
from resources.featuring import compute_features
from resources.following import DARK
from resources.learning import CORRECTED, train_challenger
from resources.settings import Settings
from resources.training_set import NOT_TAKEN, UNLABELLED, TrainingRows, make_training_set, read_training_set
from tests.resources.developing.bronze_rows import DAY
from tests.resources.developing.stage import Stage, scan
from tests.resources.learning.label_rows import Corrections
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.families import DIGITS


@pytest.fixture(scope="module")
def pool():
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    """Ada's images labelled 1 and nothing, and one of Bob's labelled 2, developed and measured."""
    made = Stage(tmp_path, pool)
    made.bronze.sealed(scan(1), label="1")
    made.bronze.sealed(scan(2), label=None)
    made.bronze.sealed(scan(3), label="2", uploader="bob")
    made.bronze.land()
    made.develop()
    compute_features(made.lake, made.keys)
    return made


@pytest.fixture
def corrections(stage: Stage) -> Corrections:
    return Corrections(stage.lake, stage.keys)


def images(stage: Stage) -> list[tuple[str, str]]:
    """Id and key of the three."""
    return list(stage.processed().select("id", "key").iter_rows())


def made(stage: Stage) -> TrainingRows:
    rows = make_training_set(stage.lake, stage.keys, [DIGITS])[DIGITS.name]
    read = read_training_set(stage.lake, stage.keys, DIGITS)
    assert (read.manifest, read.labels, read.corrected, read.keys) == (
        rows.manifest,
        rows.labels,
        rows.corrected,
        rows.keys,
    )
    return rows


def labels(stage: Stage) -> dict[str, str]:
    rows = made(stage)
    return dict(zip(rows.ids, rows.labels, strict=True))


def test_a_correction_wins_and_labels_an_image_that_had_no_label(stage: Stage, corrections: Corrections) -> None:
    (first, key), (second, _), (third, _) = images(stage)
    before = made(stage)
    assert before.skipped == {UNLABELLED: 1}
    corrections.say(first, key, "7")
    corrections.say(second, key, "8")
    after = made(stage)
    assert dict(zip(after.ids, after.labels, strict=True)) == {first: "7", second: "8", third: "2"}
    assert (after.corrected, after.corrections, after.refused) == ({first, second}, 2, {})
    assert after.manifest != before.manifest


def test_the_last_one_counts_and_the_same_again_changes_nothing(stage: Stage, corrections: Corrections) -> None:
    (first, key), *_ = images(stage)
    for label in ("7", "8", "9"):
        corrections.say(first, key, label)
    once = made(stage)
    assert labels(stage)[first] == "9"
    corrections.say(first, key, "9")
    again = made(stage)
    assert (again.manifest, again.corrections) == (once.manifest, 4)


def test_of_a_topic_that_was_made_anew_the_later_one_counts(stage: Stage, corrections: Corrections) -> None:
    """Its offsets begin at 0 again, and its id may sort before the old one's."""
    (first, key), *_ = images(stage)
    for label in ("7", "8", "9"):
        corrections.say(first, key, label, partition=2)
    corrections.topic_id = "A" * 22
    corrections.say(first, key, "4", partition=1)
    assert labels(stage)[first] == "4"


def test_a_correction_to_another_kind_of_word_takes_the_image_out(stage: Stage, corrections: Corrections) -> None:
    (first, key), *_ = images(stage)
    corrections.say(first, key, "a smudge")
    rows = made(stage)
    assert first not in rows.ids
    assert rows.skipped == {UNLABELLED: 1, NOT_TAKEN: 1}
    assert rows.corrected == frozenset()


Said = Callable[[Corrections, str, str, str], None]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (lambda c, id, key, other: c.say(id, other, "9"), OTHER_KEY),
        (lambda c, id, key, other: c.say("a" * 26, key, "9"), NO_IMAGE),
        (lambda c, id, key, other: c.say(id, key, "9", key_bytes=b"b" * 26), NO_IMAGE),
        (lambda c, id, key, other: c.say(id, key, "9", payload=b"\0" * 60), TAMPERED),
        (lambda c, id, key, other: c.say(id, key, "9", payload=b""), TAMPERED),
        (lambda c, id, key, other: c.say(id, key, "9", payload=None), NOT_SEALED),
        (lambda c, id, key, other: c.say(id, key, "9", headers=[]), NOT_SEALED),
        (lambda c, id, key, other: c.say(id, key, "9", headers=[("v", b"1"), ("v", b"1")]), TAMPERED),
        (lambda c, id, key, other: c.say(id, key, "9", headers=[("v", b"2")]), NOT_SEALED),
        (lambda c, id, key, other: c.put([], None, None, 0, DAY), NOT_SEALED),
    ],
    ids=[
        "sealed under another's key", "of no image", "kept by another image's partition", "tampered", "empty",
        "a tombstone", "unsealed", "a header twice", "another version", "nothing at all",
    ],
)  # fmt: skip
def test_what_may_not_be_believed_is_counted_and_what_was_said_before_stands(
    stage: Stage, corrections: Corrections, said: Said, why: str
) -> None:
    (first, key), _, (_, other) = images(stage)
    corrections.say(first, key, "7")
    said(corrections, first, key, other)
    rows = made(stage)
    assert dict(zip(rows.ids, rows.labels, strict=True))[first] == "7"
    assert (rows.corrections, rows.refused) == (2, {why: 1})


def test_a_correction_moved_onto_another_image_of_the_same_key_does_not_open(
    stage: Stage, corrections: Corrections
) -> None:
    """The id in clear can be written by whoever may write the topic; the seal is bound to it."""
    (first, key), (second, _), _ = images(stage)
    corrections.say(first, key, "7")
    handle = stage.lake.open("images/label_corrections")
    row = pl.scan_delta(handle).collect().row(0, named=True)
    moved = [(h["key"], second.encode() if h["key"] == "id" else h["value"]) for h in row["headers"]]
    corrections.put(moved, row["payload"], second.encode(), 0, DAY)
    assert made(stage).refused == {TAMPERED: 1}


def test_once_the_key_is_destroyed_image_and_correction_are_dark(stage: Stage, corrections: Corrections) -> None:
    (first, key), _, (third, _) = images(stage)
    corrections.say(first, key, "7", day=DAY + timedelta(days=3))
    assert first in labels(stage)
    stage.keys.destroy_key(key, "test")
    rows = made(stage)
    assert rows.ids == (third,)
    assert rows.refused == {DARK: 1}


def test_the_run_in_mlflow_says_how_many_labels_were_corrected(stage: Stage, corrections: Corrections) -> None:
    for number in range(40):
        stage.bronze.sealed(scan(10 + number), label=str(number % 2))
    stage.bronze.land()
    stage.develop()
    compute_features(stage.lake, stage.keys)
    (first, key), *_ = images(stage)
    corrections.say(first, key, "7")
    registry = RegistryInMemory()
    train_challenger(registry, made(stage), DIGITS, "run")
    (learned,) = registry.learned
    assert (learned.tags[CORRECTED], learned.parameters["rows_corrected"]) == ("1", "1")
    assert "of them with a corrected label" in learned.texts["model_card.md"]


def test_corrected_images_are_counted_without_opening_a_key(stage: Stage, corrections: Corrections) -> None:
    assert corrected_ids(stage.lake).height == 0, "no table yet"
    (first, key), (second, _), _ = images(stage)
    for id in (first, first, second):
        corrections.say(id, key, "7")
    corrections.put([], b"x", None, 0, DAY)
    corrections.put([], b"x", b"\xff", 0, DAY)
    assert {first, second} <= set(corrected_ids(stage.lake)["id"])
    assert corrected_ids(stage.lake).height == 3


def test_corrections_are_read_in_batches(
    stage: Stage, corrections: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, key), *_ = images(stage)
    for label in ("7", "8", "9"):
        corrections.say(first, key, label)
    seen: list[int] = []

    def watched(lake, positions, batch_bytes, **more):
        for batch in read_since(lake, positions, batch_bytes, **more):
            seen.append(batch.num_rows)
            yield batch

    monkeypatch.setattr("resources.corrections.read_since", watched)
    monkeypatch.setattr("resources.corrections.BATCH_BYTES", 1)
    assert labels(stage)[first] == "9"
    assert set(seen) == {1}
