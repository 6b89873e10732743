"""Write the classes of a Spark session into an archive, which later sessions begin with.

Most of what a session costs that works on some hundred rows is loading and verifying Spark's classes, Delta's and the
object store's (`benchmarks/compute.py` has the figures). A small session is run for it: a Delta table is read by a
function in Python, and a bucket is asked for that nobody has. `make jars-spark` calls this once its jars are there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from resources.lake import Lake
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from resources.spark_gateway import QUICK_JAVA, class_archive
from transforms.tables import RAW_IMAGES

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE_SECONDS = 300.0
"""Java writes the archive while it ends, ten seconds of one core."""


def main() -> None:
    """Write the archive, in the place of one that is there. Raises SystemExit where Java wrote none."""
    target = class_archive(Settings())
    scratch = target.with_name(f"{target.name}.{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="darkroom-archive-") as folder:
        work(Path(folder), scratch)
    if not scratch.is_file():
        sys.exit(f"Java wrote no archive of classes to {scratch}: Spark starts slower, and works.")
    scratch.replace(target)


def work(folder: Path, archive: Path) -> None:
    """Run the session that is remembered."""
    properties = folder / "spark.conf"
    properties.write_text(
        f"spark.driver.extraJavaOptions {QUICK_JAVA} -XX:ArchiveClassesAtExit={archive} -Xlog:cds=off\n"
    )
    settings = Settings(home=folder, spark_master="local[2]", spark_properties=properties)
    lake = Lake(str(folder / "lake"))
    lake.ensure(RAW_IMAGES)
    session = SparkCompute(settings, lake.storage).session()
    rows = session.read.format("delta").load(lake.uri(RAW_IMAGES.name)).select("offset", "payload")
    rows.mapInArrow(unchanged, rows.schema).toArrow()
    session.sparkContext.setLogLevel("OFF")
    options = {"fs.s3a.endpoint": "https://127.0.0.1:1", "fs.s3a.attempts.maximum": "1", "fs.s3a.retry.limit": "0"}
    for name, value in {
        **options,
        "fs.s3a.access.key": "none",
        "fs.s3a.secret.key": "none",
    }.items():  # pragma: allowlist secret
        session.conf.set(f"spark.hadoop.{name}", value)
        session.sparkContext._jsc.hadoopConfiguration().set(name, value)  # type: ignore[union-attr]
    with contextlib.suppress(Exception):  # nobody is there; the classes that asked are loaded
        session.read.format("delta").load("s3a://none/table").count()
    end_session(PATIENCE_SECONDS)


def unchanged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows as they are, through Python."""
    yield from batches


if __name__ == "__main__":
    main()
