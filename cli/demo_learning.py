"""The demo's last part: what was sent is learned from, the model is promoted, and names what lives.

The job is the one that the schedule and the sensor ask for. The sensor may have been quicker: then there is nothing new
to learn, and the champion's own figures are shown. What the test split says was not learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from cli.dagster_api import Run
    from resources.settings import Settings

JOB = "train_digit_classifier"
NAMING_JOB = "recognise_images"


@dataclass(frozen=True)
class Learning:
    """What came of it: the champion's version, its share of the test split, and images it has named."""

    version: str
    right: int
    rows: int
    recognised: int
    images: int
    kept: str = ""
    """Why the champion of before stayed, where a new challenger was no better."""

    @property
    def sentence(self) -> str:
        """For a person."""
        share = f"{self.right / self.rows:.1%}" if self.rows else "none"
        kept = f"{self.kept} " if self.kept else ""
        return kept + (
            f"Recognised: champion version {self.version} names {share} of the {self.rows} held-out digits right "
            f"(it has not learned from them), and has named {self.recognised:,} of {self.images:,} images."
        )


def learn(home: Path, settings: Settings, console: Console, deadline: float) -> Learning:
    """Train by Dagster's job, and look at what came of it as anybody would.

    Raises:
        PermanentFailure: the run failed; with its first error.
        TransientFailure: Dagster or MLflow are away, or the deadline passed.
    """
    from cli.dagster_api import DagsterApi
    from cli.quarantine import dagster_url, wait_for
    from resources.failures import PermanentFailure

    kept = ""
    dagster = DagsterApi(dagster_url(home))
    try:
        with console.status("learning from what was sent") as spinner:

            def run_of(job: str) -> Run:
                said = "learning from what was sent" if job == JOB else "naming what was sent"
                launched = dagster.launch(job, {})
                return wait_for(
                    dagster, job, launched, deadline, lambda run: spinner.update(f"{said}: {run.status.lower()}")
                )

            run = run_of(JOB)
            # A challenger that is no better stops at the blocking check, which is as it should be.
            if run.status != "SUCCESS" and (kept := why_not_promoted(settings)):
                run = run_of(NAMING_JOB)
    finally:
        dagster.close()
    found = look(settings, kept)
    if found is None or run.status != "SUCCESS":
        raise PermanentFailure(
            f"Run {run.id} of {JOB} ended as {run.status.lower()}: {run.error or 'and no model is champion'}. "
            f"See {dagster.url}/runs/{run.id}. The images are developed all the same."
        )
    return found


def why_not_promoted(settings: Settings) -> str:
    """The verdict on a challenger that may not take the champion's place; empty where there is none such."""
    from resources.keys import open_key_store
    from resources.lake import open_lake
    from resources.learning import compare
    from resources.mlflow_registry import ModelRegistry
    from resources.training_set import read_training_set
    from transforms.recognition import DIGITS

    rows = read_training_set(open_lake(settings), open_key_store(settings))
    verdict = compare(ModelRegistry(settings.mlflow_url), rows, DIGITS, settings.recognition_floor)
    return verdict.sentence if verdict.champion is not None and not verdict.passed else ""


def look(settings: Settings, kept: str = "") -> Learning | None:
    """The champion on the test split as it is now, and what it has named; None without a champion."""
    import polars as pl

    from resources.keys import open_key_store
    from resources.lake import open_lake
    from resources.learning import right_of
    from resources.mlflow_registry import ModelRegistry
    from resources.registry import CHAMPION
    from resources.training_set import read_training_set
    from transforms.recognition import DIGITS, SPLITS
    from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES

    registry, lake = ModelRegistry(settings.mlflow_url), open_lake(settings)
    champion = registry.at(DIGITS.name, CHAMPION)
    if champion is None:
        return None
    rows = read_training_set(lake, open_key_store(settings))
    right, held_out = right_of(registry, champion, rows, DIGITS), len(rows.of(SPLITS[2])[1])
    named = pl.scan_delta(lake.open(RECOGNISED_IMAGES.name)).filter(pl.col("model_version") == champion.mark)
    counts = (
        table.select(pl.len()).collect().item() for table in (named, pl.scan_delta(lake.open(IMAGE_FEATURES.name)))
    )
    recognised, images = counts
    return Learning(champion.version, right or 0, held_out, recognised, images, kept)
