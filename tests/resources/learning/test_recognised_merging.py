"""Two lanes and one table: each image and version of a model once, whatever is doubled, killed, late or forged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from cli.dataset import digits
from resources import recognised_merging
from resources.decoding import DecodePool
from resources.featuring import compute_features
from resources.following import DARK
from resources.learning import compare, promote, train_challenger
from resources.progress import merging_of
from resources.recognised_merging import DOUBLED, NO_IMAGE, PATIENCE, TOO_LATE, Merged, merge_answers, rows_by_lane
from resources.recognising import Recognised, recognise
from resources.settings import Settings
from resources.tracked_table import TrackedTable
from resources.training_set import make_training_set, read_training_set
from services.recogniser.answering import Answer
from tests.resources.developing.bronze_rows import DAY, NOW
from tests.resources.developing.stage import Killed, Stage, scan
from tests.resources.learning.answers import ANSWERS, ANSWERS_ID, Answers, promoted, some_model
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.envelope import Clear, clear_of, open_field
from transforms.families import DIGITS
from transforms.landing_protocol import Position
from transforms.messages import open_recognition, seal_recognition
from transforms.names import pseudonym
from transforms.tables import RECOGNISED_IMAGES

FIRST = Position(ANSWERS, 0, ANSWERS_ID)


@pytest.fixture(scope="module")
def pool():
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    return Stage(tmp_path, pool)


@pytest.fixture
def answers(stage: Stage) -> Answers:
    """A champion of random numbers, and its answers to come."""
    registry = RegistryInMemory()
    promoted(registry, some_model())
    return Answers(stage, registry)


def developed(stage: Stage, count: int, first: int = 0) -> list[str]:
    ids = [stage.bronze.sealed(scan(first + number)) for number in range(count)]
    stage.bronze.land()
    stage.develop()
    compute_features(stage.lake, stage.keys)
    return ids


def merge(stage: Stage, later: timedelta = timedelta(0)) -> Merged:
    return merge_answers(stage.lake, stage.keys, now=lambda: NOW + later)


def name_the_rest(answers: Answers) -> Recognised:
    return recognise(answers.stage.lake, answers.stage.keys, answers.registry, DIGITS)


def table(stage: Stage) -> pl.DataFrame:
    return pl.read_delta(stage.lake.uri(RECOGNISED_IMAGES.name))


def named(stage: Stage) -> dict[str, tuple[str, float, str]]:
    """By id: the label, opened as a reader opens it, its probability, and the lane. Fails where an id has two rows."""
    found = {}
    for row in table(stage).iter_rows(named=True):
        key = stage.keys.open_key(row["key"])
        label = open_field(
            row["label"], table=RECOGNISED_IMAGES.name, column="label", id=row["id"], day=key.day, key=key
        )
        assert row["id"] not in found
        found[row["id"]] = (label.decode(), row["probability"], row["lane"])
    return found


def taken_in(stage: Stage) -> int | None:
    return stage.lake.identifier(stage.lake.open(RECOGNISED_IMAGES.name), merging_of(FIRST))


def sealed_anew(stage: Stage, answer: Answer, **changes: object) -> Answer:
    """An authentic answer that says something else."""
    clear = clear_of(answer.headers)
    assert clear is not None
    key = stage.keys.open_key(clear.key)
    said = replace(open_recognition(clear, answer.value, key), **changes)
    headers, value = seal_recognition(said, key, "recogniser", bytes(12))
    return replace(answer, headers=headers, value=value)


def test_both_lanes_name_every_digit_of_the_demo_alike(stage: Stage) -> None:
    registry, answers = RegistryInMemory(), Answers(stage, RegistryInMemory())
    answers.registry = registry
    items = digits()
    ids = {stage.bronze.sealed(item.read(), label=item.label) for item in items}
    stage.bronze.land()
    stage.develop()
    compute_features(stage.lake, stage.keys)
    make_training_set(stage.lake, stage.keys, [DIGITS])
    learned = read_training_set(stage.lake, stage.keys, DIGITS)
    train_challenger(registry, learned, DIGITS, "run")
    promote(registry, compare(registry, learned, DIGITS, 0.9), "run")

    name_the_rest(answers)
    batch = named(stage)
    other = stage.lake.open(RECOGNISED_IMAGES.name)
    other.delete()
    answers.put(answers.of_bronze())
    answers.land()
    assert merge(stage).rows == len(ids)
    stream = named(stage)
    assert set(batch) == set(stream) == ids
    assert len(ids) > 1700
    assert {id: one[0] for id, one in batch.items()} == {id: one[0] for id, one in stream.items()}
    assert max(abs(batch[id][1] - stream[id][1]) for id in ids) < 1e-6
    assert ({one[2] for one in batch.values()}, {one[2] for one in stream.values()}) == ({"batch"}, {"stream"})


def test_what_the_stream_named_the_batch_lane_does_not_name_again(stage: Stage, answers: Answers) -> None:
    first, second = developed(stage, 2)
    answers.put(answers.of_bronze()[:1])
    answers.land()
    assert merge(stage).rows == 1
    done = name_the_rest(answers)
    assert done.followed is not None
    assert (done.followed.rows, done.followed.dropped) == (1, 0)
    assert {id: one[2] for id, one in named(stage).items()} == {first: "stream", second: "batch"}
    assert rows_by_lane(stage.lake) == {"stream": 1, "batch": 1}
    version = answers.registry.at(DIGITS.name, "champion")
    assert set(table(stage)["model_version"]) == {version.mark}


def test_what_the_batch_lane_named_first_the_stream_does_not_add(stage: Stage, answers: Answers) -> None:
    developed(stage, 3)
    name_the_rest(answers)
    answers.put(answers.of_bronze())
    answers.land()
    done = merge(stage)
    assert (done.rows, done.passed_over) == (0, Counter({DOUBLED: 3}))
    assert len(named(stage)) == 3
    assert taken_in(stage) == 2


def test_a_doubled_stream_gives_one_row_each(stage: Stage, answers: Answers) -> None:
    ids = developed(stage, 3)
    answers.put(answers.of_bronze() * 2)
    answers.land()
    assert merge(stage).passed_over == {DOUBLED: 3}
    answers.put(answers.of_bronze())
    answers.land()
    assert merge(stage).rows == 0
    assert set(named(stage)) == set(ids)


def test_a_new_version_gets_rows_of_its_own(stage: Stage, answers: Answers) -> None:
    developed(stage, 2)
    answers.put(answers.of_bronze())
    promoted(answers.registry, some_model(1))
    answers.put(answers.of_bronze())
    answers.land()
    assert merge(stage).rows == 4
    assert table(stage).group_by("model_version").len()["len"].to_list() == [2, 2]
    assert name_the_rest(answers).followed.rows == 0


def test_killed_between_any_two_commits_the_next_run_finds_the_rest(
    stage: Stage, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognised_merging, "CHUNK_BYTES", 1)
    ids = developed(stage, 4)
    answers.put(answers.of_bronze())
    answers.land()
    real = TrackedTable.append
    for survives in (0, 1, 2):

        def append(self, rows, positions, left=[survives]):  # noqa: B006
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(self, rows, positions)

        monkeypatch.setattr(TrackedTable, "append", append)
        with pytest.raises(Killed):
            merge(stage)
    assert len(named(stage)) == 3
    monkeypatch.setattr(TrackedTable, "append", real)
    assert merge(stage).rows == 1
    assert set(named(stage)) == set(ids)


@pytest.mark.parametrize("other", ["merging", "the batch lane"])
def test_two_runs_at_once_add_each_row_once(
    stage: Stage, answers: Answers, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    ids = developed(stage, 3)
    answers.put(answers.of_bronze())
    answers.land()
    real, done = TrackedTable.append, []

    def append(self, rows, positions):
        if not done:
            done.append(True)
            rows_then = merge(stage).rows if other == "merging" else name_the_rest(answers).followed.rows
            assert rows_then == 3
        return real(self, rows, positions)

    monkeypatch.setattr(TrackedTable, "append", append)
    assert merge(stage).rows == 0, "the other was first"
    assert set(named(stage)) == set(ids)
    assert taken_in(stage) == 2


def test_an_answer_waits_for_its_image_while_others_go_on(stage: Stage, answers: Answers) -> None:
    first = developed(stage, 1)
    late = stage.bronze.sealed(scan(7))
    stage.bronze.land()
    early = answers.of_bronze()
    answers.put([early[1], early[0]])
    answers.land()
    done = merge(stage)
    assert (done.rows, done.waiting) == (1, 1)
    assert set(named(stage)) == set(first)
    assert taken_in(stage) is None, "not beyond the one that waits"
    stage.develop()
    compute_features(stage.lake, stage.keys)
    done = merge(stage)
    assert (done.rows, done.waiting, done.passed_over) == (1, 0, {DOUBLED: 1})
    assert set(named(stage)) == {*first, late}
    assert taken_in(stage) == 1


def test_an_answer_whose_image_never_comes_is_passed_over_after_a_bounded_time(stage: Stage, answers: Answers) -> None:
    stage.bronze.sealed(scan(1))
    stage.bronze.land()
    answers.put(answers.of_bronze())
    answers.land()
    assert merge(stage, PATIENCE - timedelta(seconds=1)).waiting == 1
    done = merge(stage, PATIENCE + timedelta(seconds=1))
    assert (done.rows, done.waiting, done.passed_over) == (0, 0, {TOO_LATE: 1})
    assert taken_in(stage) == 0
    stage.develop()
    compute_features(stage.lake, stage.keys)
    assert name_the_rest(answers).followed.rows == 1, "nothing is lost by it"


def test_an_answer_to_a_resend_is_passed_over_at_once(stage: Stage, answers: Answers) -> None:
    stage.bronze.sealed(scan(1))
    stage.bronze.sealed(scan(1))
    developed(stage, 0)
    both = answers.of_bronze()
    assert len(both) == 2
    answers.put(list(reversed(both)))
    answers.land()
    done = merge(stage)
    assert (done.rows, done.waiting, done.passed_over) == (1, 0, {NO_IMAGE: 1})
    assert table(stage)["offset"].to_list() == [0], "the record that the image's row names"


def test_an_authentic_answer_for_another_place_makes_no_row(stage: Stage, answers: Answers) -> None:
    developed(stage, 2)
    (one, _) = answers.of_bronze()
    answers.put(
        [
            sealed_anew(stage, one, offset=1),
            sealed_anew(stage, one, topic_id="CCCCCCCCCCCCCCCCCCCCCC"),
            sealed_anew(stage, one, partition=3),
        ]
    )
    answers.land()
    done = merge(stage, 2 * PATIENCE)
    assert (done.rows, sum(done.passed_over.values()), done.waiting) == (0, 3, 0)


def test_an_authentic_answer_that_says_what_cannot_be_is_counted_and_passed(stage: Stage, answers: Answers) -> None:
    developed(stage, 1)
    (one,) = answers.of_bronze()
    answers.put(
        [
            sealed_anew(stage, one, probability=1.5),
            sealed_anew(stage, one, topic_id="short"),
            sealed_anew(stage, one, partition=2**40),
            sealed_anew(stage, one, offset=-1),
            one,
        ]
    )
    answers.land()
    done = merge(stage)
    assert (done.rows, done.passed_over) == (1, {"tampered": 4})


def test_tampered_and_foreign_messages_are_counted_by_reason_and_passed(stage: Stage, answers: Answers) -> None:
    developed(stage, 2)
    one, two = answers.of_bronze()
    unknown = Clear("1", one.key.decode(), DAY, f"{DAY}_{'a' * 16}_{'b' * 13}", "recogniser")
    answers.put(
        [
            replace(one, value=one.value[:-1] + bytes([one.value[-1] ^ 1])),
            replace(one, headers=two.headers),  # another image's answer under this name
            replace(one, headers=one.headers[:2]),
            replace(one, headers=[("v", b"9"), *one.headers[1:]]),
            replace(one, headers=unknown.headers()),
            replace(one, headers=[]),
            replace(one, value=b""),
            two,
        ]
    )
    answers.land()
    done = merge(stage)
    assert done.rows == 1
    assert done.passed_over == {"tampered": 4, "unknown_version": 1, DARK: 1, "not_sealed": 1}
    assert taken_in(stage) == 7


def test_an_unsealed_record_that_gives_the_id_of_a_sealed_image_names_nothing(stage: Stage, answers: Answers) -> None:
    """Bug prevented: whoever may write plain records could have put a word beside another person's image."""
    (id,) = developed(stage, 1)
    stage.bronze.plain(scan(9), headers=[("id", id.encode())])
    stage.bronze.land()
    stage.develop()
    compute_features(stage.lake, stage.keys)
    own, forged = answers.of_bronze()
    assert own.key == forged.key == id.encode()
    answers.put([forged, own])
    # Sealed under the forger's key, and for the place of the sealed image.
    answers.put([sealed_anew(stage, forged, offset=0)])
    answers.land()
    done = merge(stage)
    assert (done.rows, done.passed_over) == (1, {NO_IMAGE: 2})
    (row,) = table(stage).iter_rows(named=True)
    assert (row["offset"], row["key"]) == (0, dict(own.headers)["key"].decode())


def test_a_destroyed_key_makes_its_answers_dark(stage: Stage, answers: Answers) -> None:
    developed(stage, 2)
    answers.put(answers.of_bronze())
    answers.land()
    name = pseudonym(stage.keys.platform_secret(), "ada", DAY)
    stage.keys.destroy_key(stage.keys.current_key(DAY, name).name, "a test")
    done = merge(stage)
    assert (done.rows, done.passed_over) == (0, {DARK: 2})
    assert taken_in(stage) == 1
