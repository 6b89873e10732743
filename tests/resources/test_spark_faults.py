"""Faults of a Spark cluster in the middle of developing: what was acknowledged is developed, once, and nobody else is
judged for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from cli.hostile import sound_png
from resources import developing
from resources.compute import BatchFunction, ComputeUnavailable, Tools
from resources.decoding import DecodePool
from resources.develop_batches import DEVELOP
from resources.failures import is_permanent
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from stack import spark_cluster
from tests.resources.developing.stage import Stage, picture
from tests.resources.test_compute import developer, on_spark
from tests.resources.test_spark_cluster import running

pytestmark = pytest.mark.slow
HEAVY = sound_png(61, 43)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture(autouse=True)
def no_session_left() -> Iterator[None]:
    """Each test has a driver of its own."""
    yield
    end_session()


def has_heavy(batch: pa.RecordBatch) -> bool:
    """Whether this is an executor, and the batch has a heavy record."""
    from pyspark import TaskContext

    return TaskContext.get() is not None and HEAVY in batch.column("payload").to_pylist()


def hungry(tools: Tools, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Developing, by a process whose memory ends at a heavy record."""
    for batch in batches:
        if has_heavy(batch):
            bytearray(1 << 60)
        yield from DEVELOP.run(tools, iter([batch]))


def killed(tools: Tools, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Developing, by a process that the system kills at a heavy record, as it does when memory runs out."""
    for batch in batches:
        if has_heavy(batch):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from DEVELOP.run(tools, iter([batch]))


def slow(tools: Tools, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Developing that takes its time, so that it can be struck in the middle."""
    for batch in batches:
        time.sleep(3)
        yield from DEVELOP.run(tools, iter([batch]))


def staged(folder: Path, pool: DecodePool, images: int, partitions: int) -> tuple[Stage, list[str]]:
    """A lake with images in bronze, and their ids."""
    stage = Stage(folder, pool)
    return stage, [stage.bronze.sealed(picture(number), partition=number % partitions) for number in range(images)]


@pytest.mark.parametrize("run", [hungry, killed])
def test_a_record_that_takes_all_memory_there_is_developed_here_and_stops_nobody(
    tmp_path: Path,
    pool: DecodePool,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Tools, Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]],
) -> None:
    stage, ids = staged(tmp_path / "stage", pool, 7, 2)
    stage.bronze.plain(HEAVY, partition=1)
    stage.bronze.land()
    monkeypatch.setattr(developing, "DEVELOP", BatchFunction(DEVELOP.columns, DEVELOP.result, run))
    spark = on_spark(stage)
    done = developer(stage, spark).develop()
    assert (done.records, done.processed, done.quarantined) == (8, 8, {}), (
        "a good image is one, whoever it was too much for"
    )
    assert set(ids) < set(stage.processed()["id"])
    assert developer(stage, spark).develop().records == 0


def the_driver() -> psutil.Process:
    """This process's Spark driver; a child that has ended and was not yet reaped has no command line."""
    living = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    (java,) = [one for one in living if "org.apache.spark.deploy.SparkSubmit" in one.cmdline()]
    return java


def test_a_driver_that_is_killed_judges_nobody_and_the_next_try_begins_a_new_one(
    tmp_path: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, ids = staged(tmp_path / "stage", pool, 6, 2)
    stage.bronze.land()
    monkeypatch.setattr(developing, "DEVELOP", BatchFunction(DEVELOP.columns, DEVELOP.result, slow))
    spark = on_spark(stage)
    spark.session()
    threading.Timer(2.0, the_driver().kill).start()
    with pytest.raises(ComputeUnavailable, match="6 rows of images/raw_images") as caught:
        developer(stage, spark).develop()
    assert not is_permanent(caught.value)
    assert stage.processed().height == 0
    monkeypatch.setattr(developing, "DEVELOP", DEVELOP)
    assert developer(stage, spark).develop().processed == 6
    assert sorted(stage.processed()["id"]) == sorted(ids)


def test_a_driver_whose_death_nobody_has_seen_is_replaced_by_the_next_call(tmp_path: Path, pool: DecodePool) -> None:
    """Bug prevented: the call that it served had an error of Spark's own, and every later one asked a dead process."""
    stage, _ = staged(tmp_path / "stage", pool, 2, 1)
    stage.bronze.land()
    spark = on_spark(stage)
    spark.session()
    the_driver().kill()
    assert developer(stage, spark).develop().processed == 2


def test_a_worker_of_the_cluster_that_is_killed_in_the_middle_of_developing_costs_only_time(
    tmp_path: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, ids = staged(tmp_path / "stage", pool, 12, 3)
    stage.bronze.land()
    monkeypatch.setattr(developing, "DEVELOP", BatchFunction(DEVELOP.columns, DEVELOP.result, slow))
    with running(tmp_path / "cluster", spark_cluster.ENCRYPTED) as cluster:
        given = {"spark_master": cluster.master, "spark_properties": cluster.properties}
        spark = SparkCompute(stage.settings.model_copy(update=given), stage.lake.storage)
        spark.session()
        time.sleep(5)
        threading.Timer(4.0, cluster.kill, [spark_cluster.WORKERS[0]]).start()
        done = developer(stage, spark).develop()
        assert spark_cluster.WORKERS[0] not in cluster.processes, "it was killed while the job ran"
        end_session()
    assert (done.records, done.processed, done.quarantined) == (12, 12, {})
    assert sorted(stage.processed()["id"]) == sorted(ids)
