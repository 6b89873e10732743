"""A purge beside those who read, learn and develop anew: they get an error or dark rows, and nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources import backfill, kafka, training_set
from resources.backfill import redevelop_day
from resources.compute import LocalCompute, Tools
from resources.decoding import DecodePool
from resources.featuring import compute_features
from resources.following import DARK
from resources.lake import LakeUnavailable
from resources.purging import Purge
from resources.settings import Settings
from resources.training_set import make_training_set, read_training_set
from tests.resources.developing.bronze_rows import DAY
from tests.resources.developing.stage import Stage, scan
from tests.resources.upkeep.test_purging import NEXT, OLD, Broker, Projection
from tests.resources.upkeep.test_purging import Stage as Tables
from tests.resources.upkeep.test_purging import stage as tables
from transforms.families import DIGITS
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES, TRAINING_SET, TableSpec

__all__ = ["tables"]

AT = datetime.combine(DAY, time(13), UTC)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Twenty labelled images of one day, developed and measured."""
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    made = Stage(tmp_path, pool)
    (tmp_path / "logs").mkdir(exist_ok=True)
    for number in range(20):
        made.bronze.sealed(scan(number), label=str(number % 10))
    made.bronze.land()
    made.develop()
    compute_features(made.lake, made.keys, now=lambda: AT)
    return made


def purge(stage: Stage) -> None:
    def later() -> datetime:
        return datetime.now(UTC) + timedelta(days=8)

    Purge(stage.settings, stage.lake, Projection(), now=later, witness=later).run()  # type: ignore[arg-type]


def held(stage: Stage, spec: TableSpec) -> int:
    return pl.scan_delta(stage.lake.open(spec.name)).select(pl.len()).collect().item()


def at_the_worst_moment(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, stage: Stage, before: bool = False
) -> None:
    """Purge once, right after a step of somebody else's, or right before it."""
    real, done = getattr(module, name), []

    def disturbed(*given: Any) -> Any:
        if before and not done:
            done.append(purge(stage))
        found = real(*given)
        if not done:
            done.append(purge(stage))
        return found

    monkeypatch.setattr(module, name, disturbed)


def test_a_slow_reader_of_a_version_from_before_gets_a_clear_error_and_the_living_days(tables: Tables) -> None:
    handle = tables.lake.open(RAW_IMAGES.name)
    tables.purge().run()
    living = pl.scan_delta(handle).filter(pl.col("day") == NEXT).collect()
    assert living.height == 3
    with pytest.raises(LakeUnavailable, match=r"(?i)not found|no such file"), tables.lake.named("read the day"):
        pl.scan_delta(handle).filter(pl.col("day") == OLD).collect()
    assert pl.scan_delta(tables.lake.open(RAW_IMAGES.name)).collect()["day"].unique().to_list() == [NEXT]


@pytest.mark.parametrize("before", [False, True], ids=["first set", "set replaced"])
def test_what_a_training_run_writes_of_a_day_that_has_ended_meanwhile_is_dark_and_goes_with_the_next_purge(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """It has read images and opened them when their day ends, and writes its set afterwards."""
    if before:
        assert make_training_set(stage.lake, stage.keys, [DIGITS])[DIGITS.name].ids
    at_the_worst_moment(monkeypatch, training_set, "files_of", stage)
    make_training_set(stage.lake, stage.keys, [DIGITS])
    assert held(stage, TRAINING_SET) == (0 if before else 20), "where the purge removed rows, the writer looks again"
    found = read_training_set(stage.lake, stage.keys, DIGITS)
    assert found.ids == ()
    assert found.skipped == ({} if before else {DARK: 20})
    purge(stage)
    assert held(stage, TRAINING_SET) == 0
    assert held(stage, IMAGE_FEATURES) == 0


def test_a_training_run_whose_files_go_while_it_reads_says_so_and_the_next_learns_from_what_lives(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = stage.lake.open(IMAGE_FEATURES.name)
    monkeypatch.setattr(type(stage.lake), "ensure", lambda lake, spec: handle if spec is IMAGE_FEATURES else None)
    purge(stage)
    with pytest.raises(LakeUnavailable, match="read features and labels"):
        training_set._images(stage.lake, None)  # type: ignore[arg-type]
    monkeypatch.undo()
    assert not make_training_set(stage.lake, stage.keys, [DIGITS])[DIGITS.name].ids


def test_a_backfill_whose_day_ends_under_it_judges_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = LocalCompute(stage.lake, Tools(stage.settings, stage.keys, stage.pool))

    def again(day: date = DAY) -> int:
        done = redevelop_day(stage.lake, compute, day, datetime.now(UTC), now=lambda: datetime.now(UTC))
        return done.rows + done.quarantined

    at_the_worst_moment(monkeypatch, backfill, "_redevelop_file", stage, before=True)
    with pytest.raises(LakeUnavailable):
        again()
    assert again() == 0
    assert held(stage, PROCESSED_IMAGES) == 0


def test_a_backfill_that_has_developed_when_the_day_ends_brings_nothing_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = LocalCompute(stage.lake, Tools(stage.settings, stage.keys, stage.pool))
    at_the_worst_moment(monkeypatch, backfill, "processed_table", stage)
    done = redevelop_day(stage.lake, compute, DAY, datetime.now(UTC), now=lambda: datetime.now(UTC))
    assert (done.rows, done.quarantined) == (0, 0)
    assert held(stage, PROCESSED_IMAGES) == 0
