"""mack's Type 2 upsert on Spark and Delta: takes a folder, the folder of Spark's jars, the items of the first day and
what changed on each day after it; prints CPU seconds a batch, of Python and Java, and the peak memory of both."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

COLUMNS = ["name", "manufacturer", "cost", "weight_kg"]


def main(work: Path, jars: Path, first: Path, changes: list[Path]) -> None:
    """Make the table of the first day, uncounted, and bring in each day's changes in turn."""
    import psutil
    from delta import DeltaTable
    from mack import type_2_scd_upsert
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, lit

    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "driver.memory": "2g",
        "driver.extraClassPath": f"{jars}/*",
        "driver.host": "127.0.0.1",
        "driver.bindAddress": "127.0.0.1",
        "ui.enabled": "false",
        "ui.showConsoleProgress": "false",
        # As many as there are cores: 200 by itself, for a million rows.
        "sql.shuffle.partitions": "2",
        "sql.session.timeZone": "UTC",
        "sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }.items():
        builder = builder.config(f"spark.{name}", value)
    spark = builder.getOrCreate()
    both = [psutil.Process(), psutil.Process(spark.sparkContext._gateway.proc.pid)]

    def cpu() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in both)

    table = str(work / "table")
    base = spark.read.parquet(str(first)).withColumn("is_current", lit(True))
    base.withColumn("end_time", lit(None).cast("timestamp")).write.format("delta").save(table)
    costs = []
    for change in changes:
        updates = spark.read.parquet(str(change))
        began = cpu()
        type_2_scd_upsert(DeltaTable.forPath(spark, table), updates, "item_id", COLUMNS)
        # What Java compiles and collects meanwhile belongs to it.
        time.sleep(0.5)
        costs.append(cpu() - began)
    current = spark.read.format("delta").load(table).where(col("is_current")).count()
    print(json.dumps({"refresh": costs, "peak": [sum(map(_peak, both))], "current": [current]}))


def _peak(process: object) -> float:
    """MB, of a process that lives (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():  # type: ignore[missing-attribute]
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


if __name__ == "__main__":
    folder, jars, first, *rest = map(Path, sys.argv[1:])
    main(folder, jars, first, rest)
