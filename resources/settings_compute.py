"""Settings of where images are developed, measured and named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class ComputeSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    compute: Literal["local", "spark", "databricks"] = Field(
        default="local",
        description="Where images are developed, measured and named. 'local' takes processes of this machine, and no "
        "more than it has; 'spark' takes some ten seconds to begin, 'databricks' some minutes. An unknown one stops "
        "the process at start, one that is not installed the run, which says how to get it.",
    )
    compute_assets: dict[str, Literal["local", "spark", "databricks"]] = Field(
        default_factory=dict,
        description="The same for single assets, by name, such as images/processed_images. A wrong name has no effect: "
        "that asset goes on as `compute` says.",
    )
    spark_master: str = Field(
        default="local[*]",
        description="Address of the Spark cluster; local[N] for N tasks at once in a process here. A wrong one: runs "
        "fail after two minutes, naming it.",
    )
    spark_properties: Path | None = Field(
        default=None,
        description="File of Spark properties (name, space, value), applied last: memory, the secret of a cluster. "
        "A wrong property: the session does not start, and the run fails with Spark's sentence.",
    )
    databricks_host: str = Field(
        default="",
        description="URL of the Databricks workspace. A wrong one: runs fail after the patience, naming it.",
    )
    databricks_token: Path | None = Field(
        default=None,
        description="File with a token; empty for what Databricks's library finds itself (OAuth of a service "
        "principal in the environment, its own configuration file). A wrong one: runs fail at once and are not tried "
        "again.",
    )
    databricks_volume: str = Field(
        default="",
        description="Folder of a Unity Catalog volume, as /Volumes/CATALOG/SCHEMA/VOLUME, for what travels to a job "
        "and back; who may write there may run code on the cluster. A wrong one: runs fail and are not tried again.",
    )
    databricks_wheel: str = Field(
        default="",
        description="Path of Darkroom's wheel in a volume. A wrong one, or one of another release: the job stops "
        "and says so.",
    )
    databricks_policy: str = Field(
        default="",
        description="Id of the cluster policy that jobs are under; empty for none. A wrong one, or one that "
        "forbids the cluster: the job is refused, with the workspace's sentence.",
    )
    databricks_cluster: Path | None = Field(
        default=None,
        description="JSON file with fields of the job's cluster that win over the defaults (Clusters API: node types, "
        "limits of autoscaling, instance profile, tags). A wrong one: Databricks refuses the job and names it.",
    )
    databricks_timeout_seconds: Annotated[int, Field(ge=60, le=7 * 86400)] = Field(
        default=3600,
        description="Longest time for one job, the start of its cluster included. Too high: a job that hangs costs so "
        "long. Too low: jobs are cancelled before their end, and cost all the same.",
    )
    databricks_patience_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=300,
        description="How long a workspace that answers 429, 503 or nothing is asked again. Too high: a run waits so "
        "long for one that is gone. Too low: runs fail for what passes.",
    )
    decode_workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2,
        description="Processes that decode images. Too high: more than there are cores gain nothing and cost memory. "
        "Too low: cores stand idle while a backlog waits.",
    )
    decode_memory_mb: Annotated[int, Field(ge=256, le=65536)] = Field(
        default=1024,
        description="Address space that a decoding process may add after start, in MiB. Too high: hostile images take "
        "the machine's memory, once for each of decode_workers. Too low: good large images are quarantined as "
        "decode_memory.",
    )
    decode_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=20.0,
        description="Longest time for one image. Too high: a hostile image holds a decoding process, and the run, so "
        "long. Too low: good images are quarantined as decode_timeout on a busy machine.",
    )
