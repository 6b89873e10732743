"""Features and training sets on real Delta tables and keys: each row once, whatever is killed, replayed or erased."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from resources import following
from resources.decoding import DecodePool
from resources.featuring import compute_features
from resources.following import DARK, UNREADABLE
from resources.key_objects import KeyUnavailable
from resources.progress import developing_of, featuring_of
from resources.settings import Settings
from resources.tracked_table import TrackedTable
from resources.training_set import NOT_TAKEN, UNLABELLED, make_training_set, read_training_set
from tests.resources.developing.bronze_rows import DAY, TOPIC, TOPIC_ID
from tests.resources.developing.stage import Killed, Stage, picture, scan
from transforms.envelope import open_field
from transforms.families import DIGITS, FAMILIES
from transforms.features import COUNT, RECIPE, unpack
from transforms.landing_protocol import Position
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, TRAINING_SET

AT = datetime(2026, 3, 5, 13, tzinfo=UTC)
FIRST = Position(TOPIC, 0, TOPIC_ID)


@pytest.fixture(scope="module")
def pool():
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    return Stage(tmp_path, pool)


def developed(stage: Stage, labels: list[str | None], uploader: str = "ada", first: int = 0) -> list[str]:
    """Develop one picture a label; returns the ids."""
    ids = [
        stage.bronze.sealed(scan(first + number), label=label, uploader=uploader) for number, label in enumerate(labels)
    ]
    stage.bronze.land()
    stage.develop()
    return ids


def compute(stage: Stage):
    return compute_features(stage.lake, stage.keys, now=lambda: AT)


def make(stage: Stage):
    return make_training_set(stage.lake, stage.keys, FAMILIES, now=lambda: AT)[DIGITS.name]


def rows(stage: Stage, spec=IMAGE_FEATURES) -> pl.DataFrame:
    return pl.read_delta(stage.lake.uri(spec.name))


def test_each_developed_image_gets_one_sealed_vector_under_its_own_key(stage: Stage) -> None:
    ids = developed(stage, ["1", None, "x"])
    done = compute(stage)
    assert (done.rows, done.dropped, done.skipped) == (3, 0, {})
    table = rows(stage)
    assert sorted(table["id"]) == sorted(ids)
    assert set(table["feature_version"]) == {RECIPE}
    row = table.row(0, named=True)
    key = stage.keys.open_key(row["key"])
    vector = unpack(
        open_field(row["features"], table=IMAGE_FEATURES.name, column="features", id=row["id"], day=key.day, key=key)
    )
    assert vector.shape == (COUNT,)
    assert row["computed_at"] == AT


def test_offsets_are_in_the_commit_and_a_second_run_writes_nothing(stage: Stage) -> None:
    developed(stage, ["1", "2"])
    assert compute(stage).positions == {FIRST: 1}
    handle = stage.lake.open(IMAGE_FEATURES.name)
    assert stage.lake.identifier(handle, featuring_of(FIRST)) == 1
    before = handle.version()
    again = compute(stage)
    assert (again.rows, again.commits, stage.lake.open(IMAGE_FEATURES.name).version()) == (0, 0, before)
    # With nothing good behind it, the offset follows developing.
    stage.bronze.plain(None)
    stage.bronze.land()
    stage.develop()
    assert compute(stage).positions == {FIRST: 2}


def test_an_image_that_a_replay_brought_back_is_found_though_its_offset_is_an_old_one(stage: Stage) -> None:
    stage.bronze.plain(picture(1))
    stage.bronze.sealed(picture(2))
    stage.bronze.land()
    stage.develop(unsealed="quarantine")
    assert stage.processed()["offset"].to_list() == [1], "the first one is not sealed"
    compute(stage)
    stage.replay()
    compute(stage)
    assert sorted(rows(stage)["id"]) == sorted(stage.processed()["id"])
    assert stage.processed().height == 2


def test_killed_after_any_commit_the_next_run_finds_the_rest(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "CHUNK_ROWS", 2)
    ids = developed(stage, ["1"] * 5)
    real = TrackedTable.append
    for survives in range(3):

        def append(self, rows, positions, left=[survives]):  # noqa: B006
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(self, rows, positions)

        monkeypatch.setattr(TrackedTable, "append", append)
        with pytest.raises(Killed):
            compute(stage)
    monkeypatch.setattr(TrackedTable, "append", real)
    compute(stage)
    assert sorted(rows(stage)["id"]) == sorted(ids)


def test_two_runs_at_once_write_each_row_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = developed(stage, ["1"] * 3)
    real, done = TrackedTable.append, []

    def append(self, rows, positions):
        if not done:
            done.append(True)
            assert compute(stage).rows == 3
        return real(self, rows, positions)

    monkeypatch.setattr(TrackedTable, "append", append)
    assert compute(stage).rows == 0, "the other was first"
    assert sorted(rows(stage)["id"]) == sorted(ids)


def test_vectors_of_another_recipe_are_computed_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = developed(stage, ["1", "2"])
    monkeypatch.setattr("resources.featuring.RECIPE", "older-1")
    compute(stage)
    assert set(rows(stage)["feature_version"]) == {"older-1"}
    monkeypatch.undo()
    done = compute(stage)
    assert (done.rows, done.dropped) == (2, 2)
    assert sorted(rows(stage)["id"]) == sorted(ids)
    assert set(rows(stage)["feature_version"]) == {RECIPE}


def test_rows_that_the_source_lost_go_too(stage: Stage) -> None:
    """A purged day takes its features with it."""
    ids = developed(stage, ["1", "2"])
    compute(stage)
    stage.lake.open(PROCESSED_IMAGES.name).delete(f"id = '{ids[0]}'")
    assert compute(stage).dropped == 1
    assert rows(stage)["id"].to_list() == [ids[1]]


def test_a_destroyed_key_leaves_no_features_and_no_row_to_learn_from(stage: Stage) -> None:
    developed(stage, ["1", "2"])
    developed(stage, ["3"], uploader="grace", first=10)
    compute(stage)
    assert len(make(stage).ids) == 3
    lost = stage.processed().filter(pl.col("offset") == 2)["key"][0]
    stage.keys.destroy_key(lost, "test")
    assert read_training_set(stage.lake, stage.keys, DIGITS).skipped == {DARK: 1}
    made = make(stage)
    assert (len(made.ids), made.skipped) == (2, {DARK: 1})
    assert rows(stage, TRAINING_SET).height == 2, "the row has vanished from the table"
    stage.lake.open(IMAGE_FEATURES.name).delete()
    assert compute(stage).skipped == {DARK: 1}


def test_a_row_that_does_not_open_is_counted_and_stops_nothing(stage: Stage) -> None:
    ids = developed(stage, ["1", "2"])
    handle = stage.lake.open(PROCESSED_IMAGES.name)
    broken = pl.read_delta(handle).with_columns(
        pl.when(pl.col("id") == ids[0]).then(pl.lit(b"not sealed at all, but long enough")).otherwise("thumbnail")
        .alias("thumbnail")
    )  # fmt: skip
    stage.lake.replace_days(handle, PROCESSED_IMAGES, broken.to_arrow(), [DAY])
    done = compute(stage)
    assert (done.rows, done.skipped) == (1, {UNREADABLE: 1})
    assert stage.lake.identifier(stage.lake.open(PROCESSED_IMAGES.name), developing_of(FIRST)) == 1


def test_a_key_store_that_is_away_judges_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    developed(stage, ["1"])

    def away(name: str) -> None:
        raise KeyUnavailable("the key store is away")

    monkeypatch.setattr(stage.keys, "open_key", away)
    with pytest.raises(KeyUnavailable):
        compute(stage)


def test_labels_that_are_no_digits_are_counted_and_left_out(stage: Stage) -> None:
    developed(stage, ["7", "seven", "12", None, " 3 "])
    compute(stage)
    made = make(stage)
    assert sorted(made.labels) == ["3", "7"]
    assert made.skipped == {NOT_TAKEN: 2, UNLABELLED: 1}


def test_families_share_the_training_set_and_each_reads_its_own_rows(stage: Stage) -> None:
    """A third family that learns from labels needs no table of its own, and takes no digit of the first."""
    moods = replace(DIGITS, name="moods", labels=("dark", "light"), take=lambda label: {b"dark": "dark"}.get(label))
    developed(stage, ["7", "dark", "7", "seven"])
    stage.bronze.sealed(picture(1), label="7")
    stage.bronze.land()
    stage.develop()
    compute(stage)
    made = make_training_set(stage.lake, stage.keys, [*FAMILIES, moods], now=lambda: AT)
    assert {name: sorted(rows.labels) for name, rows in made.items()} == {DIGITS.name: ["7", "7"], "moods": ["dark"]}
    assert made["moods"].skipped == {NOT_TAKEN: 2}, "another word, and a digit's label on a picture that is none"
    for family in (DIGITS, moods):
        read = read_training_set(stage.lake, stage.keys, family)
        assert (read.ids, read.manifest) == (made[family.name].ids, made[family.name].manifest)
        assert read.days == (DAY,) * len(read.ids)


def test_the_same_picture_is_in_one_split_whoever_sent_it(stage: Stage) -> None:
    for number in range(6):
        for uploader in ("ada", "grace"):
            stage.bronze.sealed(scan(number), label="1", uploader=uploader)
        stage.bronze.sealed(scan(number), label="1", day=DAY - timedelta(days=1), row_day=DAY)
    stage.bronze.land()
    stage.develop()
    compute(stage)
    splits = dict(zip((made := make(stage)).ids, made.splits, strict=True))
    digests = {row["id"]: stage.opened(row, "sha256") for row in stage.processed().iter_rows(named=True)}
    assert len(splits) == 18
    assert len({(digests[id], split) for id, split in splits.items()}) == 6


def test_what_is_read_is_what_was_made_and_the_manifest_names_it(stage: Stage) -> None:
    developed(stage, [str(number % 10) for number in range(12)])
    compute(stage)
    made = make(stage)
    read = read_training_set(stage.lake, stage.keys, DIGITS)
    assert (read.ids, read.labels, read.splits, read.manifest) == (made.ids, made.labels, made.splits, made.manifest)
    assert (read.features == made.features).all()
    assert make(stage).manifest == made.manifest, "made again of the same, it is the same"
    assert rows(stage, TRAINING_SET).height == 12
    developed(stage, ["5"], first=20)
    compute(stage)
    assert make(stage).manifest != made.manifest


def test_the_live_lanes_part_imports_no_learning_library() -> None:
    """A live run is a process of some seconds: MLflow and scikit-learn would double them."""
    script = "import sys, resources.featuring; print({'mlflow', 'sklearn', 'onnxruntime', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_an_empty_lake_gives_an_empty_set(stage: Stage) -> None:
    assert read_training_set(stage.lake, stage.keys, DIGITS).ids == ()
    made = make(stage)
    assert (made.ids, made.features.shape, dict(made.counts())) == ((), (0, COUNT), {})


def test_no_label_and_no_vector_lies_in_the_clear(stage: Stage) -> None:
    developed(stage, ["7"])
    compute(stage)
    vector = make(stage).features[0]
    for file in Path(stage.lake.root).rglob("*/recognition/**/*.parquet"):
        assert vector.tobytes() not in file.read_bytes()
    row = rows(stage, TRAINING_SET).row(0, named=True)
    assert row["label"] != b"7" and len(row["label"]) > 12
