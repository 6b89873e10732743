"""One contract for every backend: the same tables once opened, the same verdicts, and failures that judge nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from cli.hostile import hostile_kinds, sound_jpeg
from resources.compute import (
    LOCAL,
    MOST_ALONE,
    SPARK,
    BatchFunction,
    Compute,
    ComputeExhausted,
    ComputeRefused,
    ComputeUnavailable,
    LocalCompute,
    Span,
    Tools,
    backend_of,
    far_compute,
    spans_behind,
)
from resources.decoding import DecodePool
from resources.develop_batches import DEVELOP, judged_of
from resources.developing import Developer
from resources.failures import is_permanent
from resources.featuring import compute_features
from resources.recognising import recognise
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from resources.spark_gateway import quick_java
from tests.resources.developing.bronze_rows import DAY
from tests.resources.developing.stage import LATER, Stage, picture, scan
from tests.resources.learning.registry_in_memory import RegistryInMemory
from tests.resources.learning.test_learning import rows as labelled_rows
from tests.resources.learning.test_learning import step
from tests.system.wire import another_authority
from transforms.envelope import open_field
from transforms.families.digits import DIGITS
from transforms.landing_protocol import Position
from transforms.names import pseudonym
from transforms.tables import (
    IMAGE_FEATURES,
    PROCESSED_IMAGES,
    QUARANTINED_IMAGES,
    RAW_IMAGES,
    RECOGNISED_IMAGES,
    TableSpec,
)

AT = datetime(2026, 3, 5, 13, 0, tzinfo=UTC)
SPARK_PROPERTIES = "spark.driver.memory 1g\nspark.driver.bindAddress 127.0.0.1\nspark.driver.host 127.0.0.1\n"


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture(scope="module", autouse=True)
def no_session_left() -> Iterator[None]:
    """A session holds a Java process: it ends with this module."""
    yield
    end_session()


def on_spark(stage: Stage, **changed: object) -> SparkCompute:
    properties = stage.settings.home / "spark.conf"
    properties.write_text(SPARK_PROPERTIES)
    (stage.settings.home / "tls").mkdir(exist_ok=True)
    given = {"spark_master": "local[2]", "spark_properties": properties, **changed}
    return SparkCompute(stage.settings.model_copy(update=given), stage.lake.storage)


def here(stage: Stage) -> LocalCompute:
    return LocalCompute(stage.lake, Tools(stage.settings, stage.keys, stage.pool))


def twin(stage: Stage, folder: Path) -> Stage:
    """The same bronze and the same keys in another place."""
    shutil.copytree(stage.settings.home, folder)
    return Stage(folder, stage.pool)


def fill(stage: Stage) -> None:
    """Good images, hostile ones, resends, unsealed records, tombstones; over two days and three partitions."""
    for number in range(24):
        stage.bronze.sealed(scan(number), label=str(number % 10), partition=number % 3)
        stage.bronze.sealed(picture(number), uploader=f"u{number % 4}", partition=(number + 1) % 3)
    for kind in [one for one in hostile_kinds() if one.body][:12]:
        stage.bronze.sealed(kind.body, partition=1)
    stage.bronze.land()
    for number in (1, 2, 3):
        stage.bronze.sealed(scan(number), label=str(number % 10), partition=2)
    stage.bronze.sealed(sound_jpeg(), day=DAY + timedelta(days=1), row_day=DAY + timedelta(days=1))
    stage.bronze.plain(picture(77), [("label", b"seven")])
    # Made here, and not by whichever twin comes first: its name has a random end.
    stage.keys.current_key(DAY, pseudonym(stage.keys.platform_secret(), "", DAY))
    stage.bronze.plain(None)
    stage.bronze.plain(b"")
    stage.bronze.sealed(picture(5), change_payload=True)
    stage.bronze.land()


def developer(stage: Stage, far: Compute | None = None) -> Developer:
    return Developer(stage.settings, stage.lake, stage.keys, stage.board, stage.pool, lambda: LATER, far)


def opened(stage: Stage, spec: TableSpec, *without: str) -> list[dict[str, object]]:
    """All rows of a table, sealed columns as a reader with the keys sees them."""
    found = []
    for row in pl.read_delta(stage.lake.uri(spec.name)).sort("topic_id", "partition", "offset").iter_rows(named=True):
        plain = {name: value for name, value in row.items() if name not in without}
        for name in spec.sealed:
            if row[name] is not None:
                key = stage.keys.open_key(row["key"])
                plain[name] = open_field(row[name], table=spec.name, column=name, id=row["id"], day=key.day, key=key)
        found.append(plain)
    return found


@pytest.mark.slow
def test_all_tables_are_the_same_once_opened_whatever_the_backend(tmp_path: Path, pool: DecodePool) -> None:
    mine = Stage(tmp_path / "here", pool)
    fill(mine)
    theirs = twin(mine, tmp_path / "there")
    spark = on_spark(theirs)
    registry = RegistryInMemory()
    step(registry, labelled_rows())
    results = []
    for stage, far in ((mine, None), (theirs, spark)):
        done = developer(stage, far).develop()
        compute_features(stage.lake, stage.keys, lambda: AT, far=far)
        named = recognise(stage.lake, stage.keys, registry, DIGITS, lambda: AT, far=far)
        results.append((done.records, done.processed, done.quarantined, done.duplicates, done.positions, named.named))
    assert results[0] == results[1]
    assert results[0][1] > 40
    for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES, IMAGE_FEATURES, RECOGNISED_IMAGES):
        assert opened(mine, spec) == opened(theirs, spec), spec.name
    assert sorted(mine.board.rows, key=str) == sorted(theirs.board.rows, key=str)
    assert developer(theirs, spark).develop().records == 0
    assert compute_features(theirs.lake, theirs.keys, lambda: AT, far=spark).rows == 0
    theirs.bronze.offsets = dict(mine.bronze.offsets)
    theirs.bronze.sealed(scan(100))
    theirs.bronze.land()
    assert developer(theirs, spark).develop().processed == 1, "a new batch on a warm session"
    assert compute_features(theirs.lake, theirs.keys, lambda: AT, far=spark).rows == 1


@pytest.mark.parametrize("backend", [LOCAL, SPARK])
def test_a_span_gives_its_rows_and_no_others(tmp_path: Path, pool: DecodePool, backend: str) -> None:
    stage = Stage(tmp_path / "stage", pool)
    ids = [stage.bronze.sealed(picture(number), partition=number % 2) for number in range(12)]
    stage.bronze.land()
    compute: Compute = here(stage) if backend == LOCAL else on_spark(stage)
    handle = stage.lake.open(RAW_IMAGES.name)
    behind = {Position("images.raw", partition, stage.bronze.topic_id): 0 for partition in (0, 1)}
    spans = list(spans_behind(stage.lake, handle, RAW_IMAGES, behind, 4))
    assert [span.rows for span in spans] == [4, 4, 2]
    stage.bronze.sealed(picture(99), partition=0)
    stage.bronze.land()
    found = [[one.id for one in judged_of(compute.map_batches(DEVELOP, span)).good] for span in spans]
    assert [sorted(part) for part in found] == [sorted(ids[start : start + 4]) for start in (2, 6, 10)]


@pytest.mark.parametrize("backend", [LOCAL, SPARK])
def test_a_key_store_that_is_away_judges_nobody(tmp_path: Path, pool: DecodePool, backend: str) -> None:
    stage = Stage(tmp_path / "stage", pool)
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    compute: Compute | None = None if backend == LOCAL else on_spark(stage)
    (stage.settings.home / "keys").rename(stage.settings.home / "elsewhere")
    with pytest.raises(Exception, match="key store") as caught:
        developer(stage, compute).develop()
    assert not is_permanent(caught.value)
    assert not stage.lake.exists(PROCESSED_IMAGES.name) or stage.processed().height == 0
    (stage.settings.home / "elsewhere").rename(stage.settings.home / "keys")
    assert developer(stage, compute).develop().processed == 1


class Narrow:
    """This machine as a backend, that has no memory for records of some offsets together with others, or at all."""

    name, span_rows, spent = "narrow", 100, {}

    def __init__(self, inner: LocalCompute, heavy: set[int]) -> None:
        self._inner, self._heavy = inner, heavy
        self.asked = 0

    def map_batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        self.asked += 1
        if any(after < offset <= last for after, last in span.bounds.values() for offset in self._heavy):
            raise ComputeExhausted("no memory")
        return self._inner.map_batches(function, span)


def test_halves_are_tried_down_to_the_rows_that_are_too_much_which_are_then_developed_here(
    tmp_path: Path, pool: DecodePool
) -> None:
    stage = Stage(tmp_path / "stage", pool)
    ids = [stage.bronze.sealed(picture(number)) for number in range(16)]
    stage.bronze.land()
    narrow = Narrow(here(stage), {3, 11})
    done = developer(stage, narrow).develop()
    assert (done.processed, done.quarantined) == (16, {})
    assert sorted(stage.processed()["id"]) == sorted(ids)
    assert narrow.asked < 2 * 2 * 5, "by halves, and not one by one"


def test_a_backend_that_has_no_memory_for_anything_judges_nobody(tmp_path: Path, pool: DecodePool) -> None:
    stage = Stage(tmp_path / "stage", pool)
    for number in range(40):
        stage.bronze.sealed(picture(number))
    stage.bronze.land()
    narrow = Narrow(here(stage), set(range(40)))
    with pytest.raises(ComputeExhausted) as caught:
        developer(stage, narrow).develop()
    assert not is_permanent(caught.value)
    assert stage.processed().height == 0
    assert narrow.asked < 4 * MOST_ALONE, "it is given up soon"


def test_features_that_are_too_much_for_the_backend_are_made_here(tmp_path: Path, pool: DecodePool) -> None:
    stage = Stage(tmp_path / "stage", pool)
    for number in range(8):
        stage.bronze.sealed(picture(number))
    stage.bronze.land()
    developer(stage).develop()
    made = compute_features(stage.lake, stage.keys, lambda: AT, far=Narrow(here(stage), {5}))
    assert (made.rows, dict(made.skipped)) == (8, {})


def test_each_asset_has_the_backend_that_configuration_names(tmp_path: Path) -> None:
    settings = Settings(compute_assets={PROCESSED_IMAGES.name: "spark"})
    assert backend_of(settings, PROCESSED_IMAGES.name) == SPARK
    assert backend_of(settings, IMAGE_FEATURES.name) == LOCAL
    assert backend_of(Settings(compute="spark"), IMAGE_FEATURES.name) == SPARK


def test_java_starts_quickly_for_one_run_unless_a_file_says_otherwise(tmp_path: Path, pool: DecodePool) -> None:
    """Bug prevented: options in the file took the place of those that lead Java to the storage's authority."""
    stage, own = Stage(tmp_path, pool), tmp_path / "own.conf"
    own.write_text("spark.driver.extraJavaOptions -Xss4m\n")
    storage = replace(stage.lake.storage, ca=another_authority(tmp_path)[0])
    ways: dict[str, dict[str, object]] = {
        "here": {},
        "file": {"spark_properties": own},
        "cluster": {"spark_master": "spark://master:7077"},
    }
    options = {
        name: SparkCompute(on_spark(stage, **given)._settings, storage)._properties()["spark.driver.extraJavaOptions"]
        for name, given in ways.items()
    }
    assert options["here"].startswith(f"{quick_java(stage.settings)} -Djavax.net.ssl.trustStore=")
    assert options["file"].startswith("-Xss4m -Djavax.net.ssl.trustStore=")
    assert options["cluster"].startswith("-Djavax.net.ssl.trustStore=")


def test_a_backend_that_is_not_installed_is_refused_at_the_start(tmp_path: Path, pool: DecodePool) -> None:
    stage = Stage(tmp_path, pool)
    settings = stage.settings.model_copy(update={"compute": "spark", "jars": tmp_path / "none" / "kafka"})
    with pytest.raises(ComputeRefused, match="make jars-spark"):
        far_compute(settings, stage.lake, PROCESSED_IMAGES.name, dg.build_op_context())
    with pytest.raises(ComputeRefused, match="spark_properties"):
        on_spark(stage, spark_properties=tmp_path / "none").session()


def test_a_failure_of_the_function_is_said_in_one_sentence_with_its_cause(tmp_path: Path, pool: DecodePool) -> None:
    stage = Stage(tmp_path, pool)
    stage.bronze.sealed(picture(1))
    stage.bronze.land()
    spark = on_spark(stage, unsealed="neither")
    with pytest.raises(ComputeUnavailable, match=r"1 rows of images/raw_images: .*unsealed.*Nothing was judged"):
        developer(stage, spark).develop()
