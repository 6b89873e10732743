"""Settings of models: where MLflow is, and which model is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field


class ModelSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    mlflow_url: str = Field(
        default="http://127.0.0.1:5000",
        description="Address of the MLflow server. A wrong one: training and scoring fail with a sentence that "
        "names it; images are taken and developed all the same.",
    )
    mlflow_ca: Path | None = Field(
        default=None,
        description="PEM certificate of the authority that MLflow's server is known by; the system's own unless given. "
        "A wrong one: as with mlflow_url.",
    )
    mlflow_client: Path | None = Field(
        default=None,
        description="PEM file with the certificate that is shown to MLflow's server, and its key. A wrong one: as with "
        "mlflow_url.",
    )
    mlflow_registry_url: str = Field(
        default="",
        description="Where models are registered, if not where runs are kept: databricks-uc for Unity Catalog. A wrong "
        "one: as with mlflow_url.",
    )
    mlflow_schema: str = Field(
        default="",
        description="What stands before the names of models in the registry: CATALOG.SCHEMA of Unity Catalog. Another "
        "one: models registered before are not found, until they are trained anew.",
    )
    mlflow_experiment: str = Field(
        default="recognition",
        description="Experiment that training runs are kept under; on Databricks a path of the workspace. Another "
        "one: the runs before stay where they are.",
    )
    recognition_floor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.9,
        description="Accuracy on the test split below which no model becomes champion, also where there is none. Too "
        "high: nothing is ever recognised. Too low: the first model is promoted however bad it is.",
    )
    recognition_warn: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.94,
        description="Share of a day's labelled images, not learned from, that the champion must name right; below it "
        "the check warns, below recognition_floor it is an error. Too high: a warning every day. Too low: "
        "a model that gets worse is noticed late; below recognition_floor no warning comes first.",
    )
    drift_warn: Annotated[float, Field(gt=0)] = Field(
        default=0.1,
        description="Population stability index of the last day's features from which on the check warns. Too high: "
        "a change is noticed late, and above drift_error no warning comes first. Too low: chance alone warns, for 300 "
        "images have 0.08 without any drift.",
    )
    drift_error: Annotated[float, Field(gt=0)] = Field(
        default=0.25,
        description="The same, from which on it is an error; nothing is stopped by it. Too high: images that the model "
        "was never shown go unnoticed. Too low: an error for what a nightly training takes in.",
    )
    recognition_distrust: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6,
        description="Share of an uploader's labels that a model is sure are wrong, beyond that of the others, from "
        "which on nothing is promoted and these labels are left out of the next training set. Too high: wrong labels "
        "are learned. Too low: honest labels of pictures that the model knows little are left out.",
    )
    recognition_growth: Annotated[float, Field(gt=0, le=100)] = Field(
        default=0.2,
        description="Share by which labelled images must have grown since the champion learned before training is "
        "asked for between two nights. Too high: new labels wait for the nightly run. Too low: the machine "
        "trains all day.",
    )
    recognition_least: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="Labelled images from which on the first model is trained without anybody asking. Too high: "
        "somebody must ask, or wait for the night. Too low: a first model of few images, judged on a handful.",
    )
