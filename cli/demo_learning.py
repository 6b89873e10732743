"""The demo's last part: what was sent is learned from, each family's model is promoted, and names what lives.

The jobs are those that the schedules and sensors ask for. A sensor may have been quicker: then there is nothing new to
learn, and the champion's own figures are shown. What the test split says was not learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.job_names import RECOGNISE_JOB, train_job_name

if TYPE_CHECKING:
    from rich.console import Console

    from cli.dagster_api import Run
    from resources.settings import Settings


@dataclass(frozen=True)
class Learning:
    """What came of it: the digits' champion, its share of the test split, and the images that each model has named."""

    version: str
    right: int
    rows: int
    images: int
    named: Mapping[str, int]
    """Images that each family's champion has named, by its model's name."""
    kept: str = ""
    """Why the champion of before stayed, where a new challenger was no better."""

    @property
    def recognised(self) -> int:
        """Images that were named; one of two families counts twice."""
        return sum(self.named.values())

    @property
    def sentence(self) -> str:
        """For a person."""
        share = f"{self.right / self.rows:.1%}" if self.rows else "none"
        kept = f"{self.kept} " if self.kept else ""
        each = ", ".join(f"{count:,} by {name}" for name, count in self.named.items())
        return kept + (
            f"Recognised: champion version {self.version} names {share} of the {self.rows} held-out digits right "
            f"(it has not learned from them). Of {self.images:,} images have been named: {each}."
        )


def learn(home: Path, settings: Settings, console: Console, deadline: float) -> Learning:
    """Train each family by Dagster's job, and look at what came of it as anybody would.

    Raises:
        PermanentFailure: the run failed; with its first error.
        TransientFailure: Dagster or MLflow are away, or the deadline passed.
    """
    from cli.dagster_runs import run_to_end, running_dagster
    from resources.failures import PermanentFailure
    from transforms.families import FAMILIES

    kept = ""
    with running_dagster(home) as dagster:

        def run_of(job: str, doing: str) -> Run:
            return run_to_end(dagster, job, {}, deadline, console, doing)

        # The digits last: their run also names what is there.
        train = [train_job_name(family.name) for family in reversed(FAMILIES)]
        runs = [run_of(job, "learning from what was sent") for job in train]
        # A challenger that is no better stops at the blocking check, which is as it should be.
        if runs[-1].status != "SUCCESS" and (kept := why_not_promoted(settings)):
            runs[-1] = run_of(RECOGNISE_JOB, "naming what was sent")
    found = look(settings, kept)
    failed = next((run for run in runs if run.status != "SUCCESS"), None)
    if found is None or failed is not None:
        run = failed or runs[-1]
        raise PermanentFailure(
            f"Run {run.id} of {run.job} ended as {run.status.lower()}: {run.error or 'and no model is champion'}. "
            f"See {dagster.url}/runs/{run.id}. The images are developed all the same."
        )
    return found


def why_not_promoted(settings: Settings) -> str:
    """The verdict on a challenger that may not take the champion's place; empty where there is none such."""
    from resources.keys import open_key_store
    from resources.lake import open_lake
    from resources.learning import compare
    from resources.mlflow_registry import open_registry
    from resources.training_set import read_training_set
    from transforms.families import DIGITS

    rows = read_training_set(open_lake(settings), open_key_store(settings), DIGITS)
    verdict = compare(open_registry(settings), rows, DIGITS, settings.recognition_floor)
    return verdict.sentence if verdict.champion is not None and not verdict.passed else ""


def look(settings: Settings, kept: str = "") -> Learning | None:
    """The digits' champion on the test split as it is now, and what all champions have named; None without it."""
    import polars as pl

    from resources.keys import open_key_store
    from resources.lake import open_lake
    from resources.learning import right_of
    from resources.mlflow_registry import open_registry
    from resources.registry import CHAMPION
    from resources.training_set import read_training_set
    from transforms.families import DIGITS, FAMILIES
    from transforms.recognition import SPLITS
    from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES

    registry, lake = open_registry(settings), open_lake(settings)
    champions = {family.name: registry.at(family.name, CHAMPION) for family in FAMILIES}
    champion = champions[DIGITS.name]
    if champion is None:
        return None
    rows = read_training_set(lake, open_key_store(settings), DIGITS)
    right, held_out = right_of(registry, champion, rows, DIGITS), len(rows.of(SPLITS[2])[1])
    answers = pl.scan_delta(lake.open(RECOGNISED_IMAGES.name))
    named = {}
    for name, one in champions.items():
        if one is not None:
            by_it = answers.filter(pl.col("model") == name, pl.col("model_version") == one.mark)
            named[name] = lake.collect(by_it.select(pl.col("id").n_unique()), RECOGNISED_IMAGES.name).item()
    images = lake.collect(pl.scan_delta(lake.open(IMAGE_FEATURES.name)).select(pl.len()), IMAGE_FEATURES.name).item()
    return Learning(champion.version, right or 0, held_out, images, named, kept)
