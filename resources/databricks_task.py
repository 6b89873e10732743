"""What a Databricks job runs of this wheel: one piece of work over one span of a table, told back through Pipes.

Entry point `darkroom-compute`. The work lies in a folder of a Unity Catalog volume, and its results beside it:
`work.pickle` in, `result/*.parquet` and `done.json` out, or `failed.json` with a sentence. Who may write to that volume
may run code on the cluster, as who may replace the wheel in it.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.compute import ComputeRefused
from resources.failures import is_permanent
from resources.spark_work import cause_of, is_exhaustion, worked

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

WORK, DONE, FAILED, RESULT = "work.pickle", "done.json", "failed.json", "result"


def main() -> None:
    """Do the work that the Pipes context names; raises what went wrong, so that the job fails."""
    from dagster_pipes import (
        PipesUnityCatalogVolumesContextLoader,
        PipesUnityCatalogVolumesMessageWriter,
        open_dagster_pipes,
    )

    with open_dagster_pipes(
        context_loader=PipesUnityCatalogVolumesContextLoader(),
        message_writer=PipesUnityCatalogVolumesMessageWriter(),
    ) as pipes:
        folder = Path(pipes.extras["folder"])
        try:
            done = _work(pipes, pipes.extras, folder)
        except BaseException as error:
            told = {
                "said": cause_of(error),
                "permanent": is_permanent(error),
                "exhausted": is_exhaustion(error),
            }
            (folder / FAILED).write_text(json.dumps(told))
            raise
        (folder / DONE).write_text(json.dumps(done))


def _work(pipes: PipesContext, asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from pyspark.sql import SparkSession

    here = version("darkroom")
    if asked["release"] != here:
        raise ComputeRefused(
            f"The wheel of this job is release {here}, and release {asked['release']} asked: deploy that one "
            "(setting databricks_wheel)."
        )
    began = time.monotonic()
    session = SparkSession.builder.getOrCreate()
    pipes.log.info(
        f"{asked['rows']} rows of {asked['table']} at version {asked['version']}, "
        f"{session.sparkContext.defaultParallelism} cores to begin with"
    )
    # Written by whoever asked, to the same volume as this wheel.
    work = pickle.loads((folder / WORK).read_bytes())  # noqa: S301
    rows, spent = worked(session, asked["uri"], asked["version"], asked["bounds"], work)
    rows.write.parquet(str(folder / RESULT))
    done = {
        "files": sorted(path.name for path in (folder / RESULT).glob("*.parquet")),
        "cpu_seconds": round(spent.value, 3),
        "seconds": round(time.monotonic() - began, 3),
    }
    pipes.log.info(f"done in {done['seconds']} s, {done['cpu_seconds']} CPU seconds of executors")
    pipes.report_custom_message(done)
    return done
