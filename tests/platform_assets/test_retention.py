"""upkeep/retention in Dagster: what a run shows, and a check that is red where a purge is behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from platform_assets.upkeep.retention import nothing_over_is_left, retention
from resources.dagster_resources import RetentionResource, SettingsResource
from resources.purging import Day, Purge, Purged
from tests.resources.upkeep.test_purging import NEXT, OLD, Stage, stage
from transforms.retention import PURGED

__all__ = ["stage"]


class Staged(RetentionResource):
    """The purge of a stage, by the stage's clock."""

    @contextmanager
    def open(self) -> Iterator[Purge]:
        yield _stage.purge()


_stage: Stage


@pytest.fixture
def resources(stage: Stage) -> dict[str, RetentionResource]:
    global _stage
    _stage = stage
    return {"retention": Staged(settings=SettingsResource())}


def run(resources: dict[str, RetentionResource]) -> tuple[dict[str, dg.MetadataValue], dg.AssetCheckEvaluation]:
    done = dg.materialize([retention, nothing_over_is_left], resources=resources)
    (made,) = done.asset_materializations_for_node("upkeep__retention")
    (check,) = done.get_asset_check_evaluations()
    return dict(made.metadata), check


def test_a_run_shows_what_became_of_each_day(stage: Stage, resources: dict[str, RetentionResource]) -> None:
    shown, check = run(resources)
    assert shown["days purged"].value == 1
    assert f"| {OLD} | {4 * len(PURGED)} | purged |" in str(shown["days"].value)
    assert "| images/raw_images | 4 |" in str(shown["rows removed"].value)
    assert "| images.raw | 0 | 4 |" in str(shown["Kafka begins at"].value)
    assert check.passed
    again, check = run(resources)
    assert (again["days purged"].value, again["days"].value, check.passed) == (0, "none", True)


def test_the_check_is_red_where_a_day_is_over_and_not_purged(
    stage: Stage, resources: dict[str, RetentionResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Purge, "run", lambda self: Purged(self.days()))
    _, check = run(resources)
    assert not check.passed
    assert f"| {OLD} | {4 * len(PURGED)} | over |" in str(check.metadata["days"].value)
    assert "Run the job purge_days" in str(check.metadata["what to do"].value)


def test_a_day_that_is_kept_is_told_and_is_not_red(
    stage: Stage, resources: dict[str, RetentionResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Day(OLD, NEXT, {"images/raw_images": 4}, due=False)
    monkeypatch.setattr(Purge, "days", lambda self: [late])
    shown, check = run(resources)
    assert check.passed
    assert f"kept: its youngest record is of {NEXT}" in str(check.metadata["days"].value)
    assert shown["days kept"].value == 1
