"""upkeep/retention in Dagster: what a run shows, and a check that is red where a purge is behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from platform_assets.upkeep.retention import no_byte_of_it_is_left, nothing_over_is_left, retention
from resources.dagster_resources import RetentionResource, SettingsResource
from resources.purge_days import Day
from resources.purge_proof import KAFKA, Proof
from resources.purging import Purge, Purged
from tests.resources.upkeep.test_purge_proof import SAMPLES, SEALED, Disks
from tests.resources.upkeep.test_purging import NEXT, OLD, Stage, stage
from transforms.retention import PURGED

__all__ = ["stage"]


class Staged(RetentionResource):
    """The purge of a stage, by the stage's clock."""

    @contextmanager
    def open(self) -> Iterator[Purge]:
        yield _stage.purge()

    def proof(self) -> Proof:
        return _disks.proof


_stage: Stage
_disks: Disks


@pytest.fixture
def resources(stage: Stage) -> dict[str, RetentionResource]:
    global _stage, _disks
    _stage, _disks = stage, Disks(stage)
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


def search(
    resources: dict[str, RetentionResource], instance: dg.DagsterInstance
) -> tuple[dg.AssetCheckEvaluation, dict[str, str]]:
    done = dg.materialize([retention, no_byte_of_it_is_left], resources=resources, instance=instance)
    (check,) = done.get_asset_check_evaluations()
    return check, {name: str(value.value) for name, value in check.metadata.items()}


def test_the_search_is_shown_and_ends_when_nothing_is_left(
    stage: Stage, resources: dict[str, RetentionResource]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        check, shown = search(resources, instance)
        assert check.passed
        assert shown["what it means"] == "None is left, and the search sees."
        assert shown["looked for"].count("| lake | 0 |") == SAMPLES * SEALED
        assert shown["left"] == "none"
        check, shown = search(resources, instance)
        assert (check.passed, shown["looked for"]) == (True, "none")


def test_the_search_is_red_where_a_byte_is_left_and_warns_while_kafka_still_has_it(
    stage: Stage, resources: dict[str, RetentionResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = _disks.proof.before([], [OLD])
    copy, segment = stage.settings.home / "lake" / "copy.bin", _disks.kafka / "00.log"
    copy.write_bytes(taken[0].held)
    segment.write_bytes(taken[1].held)
    with dg.DagsterInstance.ephemeral() as instance:
        check, shown = search(resources, instance)
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert "lake/copy.bin" in shown["left"]
        copy.unlink()
        stage.now = datetime.now(UTC)
        fresh = [replace(piece, taken=stage.now) for piece in taken[1:2]]
        monkeypatch.setattr(type(_disks.proof), "before", lambda *_: fresh)
        check, shown = search(resources, instance)
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert f"| {KAFKA}/00.log |" in shown["left"]
        assert "looks again" in shown["what it means"]
        segment.unlink()
        check, shown = search(resources, instance)
        assert check.passed


def test_what_a_killed_run_was_about_to_purge_is_looked_for_by_the_next(
    stage: Stage, resources: dict[str, RetentionResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Purge) -> Purged:
        with monkeypatch.context() as whole:
            whole.setattr(Purge, "run", plain)
            stage.purge().run()
        raise dg.Failure("killed after the last step", allow_retries=False)

    plain = Purge.run
    monkeypatch.setattr(Purge, "run", killed)
    copy = stage.settings.home / "lake" / "copy.bin"
    with dg.DagsterInstance.ephemeral() as instance:
        copy.write_bytes(_disks.proof.before([], [OLD])[0].held)
        with pytest.raises(dg.Failure, match="killed"):
            search(resources, instance)
        monkeypatch.setattr(Purge, "run", plain)
        check, shown = search(resources, instance)
        assert not check.passed
        assert "lake/copy.bin" in shown["left"]


def test_without_folders_the_check_warns(stage: Stage, resources: dict[str, RetentionResource]) -> None:
    _disks.proof = Proof(stage.settings, stage.lake)
    with dg.DagsterInstance.ephemeral() as instance:
        check, shown = search(resources, instance)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "`searched`" in shown["what to do"]
