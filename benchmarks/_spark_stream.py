"""Kafka to Delta by Spark Structured Streaming, which landing is measured beside; in a process of its own.

`availableNow` over one topic, as a job that runs now and then would: Spark's own source and Delta's own sink, the
table partitioned by day as ours, the session as it comes but for two cores and 2 GB. It is warm: a first query over the
same topic, into another table, is not in the figures. It neither hashes payloads nor looks for gaps and topics made
anew, which landing does.

Reads settings as JSON from standard input; prints what `benchmarks._lanes` prints, of this process and Java, and the
number of data files.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks._lanes import peak_mib
from resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MEMORY = "2g"
"""Of Java; with the 1 GB that it takes by itself, records of 100 kB do not fit."""


def stream(session: SparkSession, settings: Settings, folder: Path) -> None:
    """Land all that the topic holds into the folder."""
    from pyspark.sql.functions import col, to_date

    source = session.readStream.format("kafka").options(**_source(settings, folder)).load()
    source.withColumn("day", to_date(col("timestamp"))).writeStream.format("delta").partitionBy("day").option(
        "checkpointLocation", str(folder / "checkpoint")
    ).trigger(availableNow=True).start(str(folder / "table")).awaitTermination()


def _source(settings: Settings, folder: Path) -> dict[str, str]:
    folder.mkdir()
    options = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap,
        "subscribe": settings.topic,
        "startingOffsets": "earliest",
        "includeHeaders": "true",
        "kafka.isolation.level": "read_committed",
    }
    if settings.kafka_ca and settings.kafka_certificate and settings.kafka_key:
        # Java wants key and certificates in one file.
        own = folder / "client.pem"
        own.touch(0o600)
        own.write_bytes(settings.kafka_key.read_bytes() + settings.kafka_certificate.read_bytes())
        options |= {
            "kafka.security.protocol": "SSL",
            "kafka.ssl.truststore.type": "PEM",
            "kafka.ssl.truststore.location": str(settings.kafka_ca),
            "kafka.ssl.keystore.type": "PEM",
            "kafka.ssl.keystore.location": str(own),
        }
    return options


def session_of(settings: Settings, folder: Path) -> SparkSession:
    """A session with Delta and Kafka."""
    from pyspark.sql import SparkSession

    jars = ":".join(f"{settings.jvm_root / name}/*" for name in ("spark", "spark-kafka"))
    properties = {
        "master": "local[2]",
        "driver.memory": MEMORY,
        "driver.extraClassPath": jars,
        "driver.host": "127.0.0.1",
        "driver.bindAddress": "127.0.0.1",
        "ui.enabled": "false",
        "ui.showConsoleProgress": "false",
        "log.level": "ERROR",
        "sql.session.timeZone": "UTC",
        "sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "sql.warehouse.dir": str(folder / "warehouse"),
    }
    builder = SparkSession.builder.appName("bench")
    for name, value in properties.items():
        builder = builder.config(f"spark.{name}", value)
    return builder.getOrCreate()


def main() -> None:
    """Warm up, then measure."""
    settings = load_settings(json.load(sys.stdin))
    folder = Path(settings.lake_root)
    session = session_of(settings, folder)
    stream(session, settings, folder / "warm")
    everybody = [psutil.Process(), *psutil.Process().children(recursive=True)]
    cpu, wall = _cpu(everybody), time.perf_counter()
    stream(session, settings, folder / "measured")
    seconds, used = time.perf_counter() - wall, _cpu(everybody) - cpu
    records = session.read.format("delta").load(str(folder / "measured" / "table")).count()
    files = len(list((folder / "measured" / "table").rglob("part-*.parquet")))
    peak = sum(peak_mib(one.pid) for one in everybody)
    session.stop()
    print(records, seconds, used, peak, files)


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    main()
