"""Spark as a backend: executors read the lake, run the function on Arrow batches (`mapInArrow`), and send rows back.

It rests on dagster-pyspark for the session, which one process has one of, and on Delta's own reader; what runs on the
executors is in `resources.spark_work`.

Limits: results pass through the process that asked, so that tables keep one writing engine; docs/scale.md says how far
that carries. A warm session needs some seconds less than a new one, and each run is a new process.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from resources.compute import SPARK, BatchFunction, ComputeExhausted, ComputeRefused, ComputeUnavailable, Span
from resources.object_storage import Storage
from resources.settings import Settings
from resources.spark_gateway import ENCRYPTED, ensure_gateway, quick_java
from resources.spark_work import Work, bounds_of, cause_of, is_exhaustion, worked

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPAN_ROWS = 4096
"""Rows of one job: their thumbnails are what this process holds at once."""


class SparkCompute:
    """A Spark session, started at first use and shared by the process.

    Args:
        settings: `spark_master`, `spark_properties`, `jars`, and those that the functions need.
        storage: where the lake lies.

    Raises:
        ComputeRefused: pyspark, Java or the jars are not here.
    """

    name = SPARK
    span_rows = SPAN_ROWS

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings = settings
        self._storage = storage
        self._jars = _jars(settings)
        self._cpu_seconds = 0.0
        if importlib.util.find_spec("pyspark") is None:
            raise ComputeRefused("The backend is Spark, and pyspark is not installed: `pip install darkroom[spark]`.")
        if shutil.which("java") is None:
            raise ComputeRefused("The backend is Spark, and there is no Java on the path: install 17 or newer.")

    @property
    def spent(self) -> dict[str, float | str]:
        """CPU seconds of the executors' Python processes."""
        return {"CPU seconds there": round(self._cpu_seconds, 1)}

    def map_batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        """See `resources.compute.Compute.map_batches`."""
        from py4j.protocol import Py4JError, Py4JNetworkError
        from pyspark.errors import PySparkException

        work = Work.of(function, self._settings)
        uri = f"{self._storage.root.rstrip('/')}/{span.spec.name}"
        try:
            rows, spent = worked(self.session(), uri, span.version, bounds_of(span), work)
            done = rows.toArrow()
        except (PySparkException, Py4JError, OSError) as error:
            if isinstance(error, Py4JNetworkError | ConnectionError):
                end_session()  # the driver is gone
            kind = ComputeExhausted if is_exhaustion(error) else ComputeUnavailable
            raise kind(
                f"Spark at {self._settings.spark_master} did not do its work on {span.rows} rows of {span.spec.name}: "
                f"{cause_of(error)}. Nothing was judged; what was committed before stands.",
                {"backend": SPARK, "master": self._settings.spark_master, "rows": span.rows},
            ) from error
        self._cpu_seconds += spent.value
        yield from done.cast(function.result).to_batches()

    def session(self) -> SparkSession:
        """The process's session; a new one where its driver has died.

        Raises:
            ComputeUnavailable: it does not start.
        """
        from py4j.protocol import Py4JNetworkError

        # The interpreter that has the functions, at the same path on every worker; no property of Spark names it.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        properties = self._properties()
        try:
            try:
                return _session(properties)
            except (Py4JNetworkError, ConnectionError):
                # A driver that dies is not always seen by the call that it served: Spark may have its own error there.
                end_session()
                return _session(properties)
        except Exception as error:
            raise ComputeUnavailable(
                f"No Spark session at {self._settings.spark_master}: {cause_of(error)}. Is the master up, and are the "
                "properties right (settings spark_master, spark_properties)?",
                {"backend": SPARK, "master": self._settings.spark_master},
            ) from error

    def _properties(self) -> dict[str, str]:
        local = self._settings.spark_master.startswith("local")
        trust = _trust(self._storage, self._settings.home)
        places = {
            "master": self._settings.spark_master,
            "app.name": "darkroom",
            "driver.extraClassPath": f"{self._jars}/*",
            "executor.extraClassPath": f"{self._jars}/*",
        }
        properties = {**_FIXED, **places, **self._storage.spark_options()}
        if local:
            properties |= _LOCAL
        if self._storage.ca is not None:
            properties["executorEnv.SSL_CERT_FILE"] = str(self._storage.ca)
        named = {f"spark.{name}": value for name, value in properties.items() if value}
        named |= _read_properties(self._settings.spark_properties)
        for name in ("spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions"):
            # Options of a file come instead of our own, but for where Java finds the authority.
            options = (named.get(name, quick_java(self._settings) if local else ""), trust)
            named[name] = " ".join(one for one in options if one)
        return {name: value for name, value in named.items() if value}


_FIXED = {
    "ui.enabled": "false",
    "ui.showConsoleProgress": "false",
    # As PySpark's own server sets it: a run's log is read by people.
    "log.level": "WARN",
    "sql.session.timeZone": "UTC",
    "sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Fifty tasks for the log of a small table otherwise.
    "databricks.delta.snapshotPartitions": "2",
    "hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    # What a task reads: about a row group, so that files are spread over all cores.
    "sql.files.maxPartitionBytes": "8m",
    "sql.files.openCostInBytes": "1m",
    # Rows of Spark's reader at a time, and of a batch that the function gets: images are large.
    "sql.parquet.columnarReaderBatchSize": "64",
    "sql.execution.arrow.maxRecordsPerBatch": "256",
    "sql.execution.arrow.maxBytesPerBatch": "16m",
    "driver.maxResultSize": "1g",
}


_LOCAL = {**ENCRYPTED, "driver.host": "127.0.0.1", "driver.bindAddress": "127.0.0.1"}
"""Of a session in one process, which opens ports all the same; Spark makes up its secret."""


def _session(properties: dict[str, str]) -> SparkSession:
    from dagster_pyspark import LazyPySparkResource

    ensure_gateway(properties)
    return LazyPySparkResource(spark_config=properties).spark_session


def end_session(patience_seconds: float = 30) -> None:
    """End the process's session and its Java process, dead or alive; harmless where there is none."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    session = SparkSession._instantiatedSession
    if session is not None:
        try:
            session.stop()
        except (Py4JError, OSError):
            # Java is gone; PySpark forgets a session only where Java answers.
            SparkContext._active_spark_context = None
            SparkSession._instantiatedSession = SparkSession._activeSession = None
    gateway = SparkContext._gateway
    if gateway is None:
        return
    gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        # Java ends with its standard input; who waits for nobody leaves a zombie.
        process.stdin.close()
        process.wait(patience_seconds)
    SparkContext._gateway = SparkContext._jvm = None


def _jars(settings: Settings) -> Path:
    folder = settings.jvm_root / SPARK
    if not all(any(folder.glob(f"{name}*.jar")) for name in ("delta-spark_", "darkroom-spark-")):
        raise ComputeRefused(
            f"The backend is Spark, and its jars (Delta's and Darkroom's) are not all in {folder}: run "
            "`make jars-spark` (mvn --file jvm/spark/pom.xml package)."
        )
    return folder


def _trust(storage: Storage, home: Path) -> str:
    """Java's options to trust the storage's authority; the store holds certificates and no key."""
    if storage.ca is None:
        return ""
    from cryptography.hazmat.primitives.serialization import NoEncryption
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
    from cryptography.x509 import load_pem_x509_certificates

    certificates = load_pem_x509_certificates(storage.ca.read_bytes())
    entries = [PKCS12Certificate(one, f"authority-{number}".encode()) for number, one in enumerate(certificates)]
    path = home.absolute() / "tls" / "spark-trust.p12"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another run may be starting with it.
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(serialize_java_truststore(entries, NoEncryption()))
    scratch.replace(path)
    return f"-Djavax.net.ssl.trustStore={path} -Djavax.net.ssl.trustStoreType=PKCS12"


def _read_properties(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise ComputeRefused(
            f"The file of Spark properties {path} cannot be read: {error.strerror} (setting spark_properties)."
        ) from error
    pairs = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
