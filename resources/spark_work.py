"""What runs where Spark is, on whichever cluster: rows of a span are read, and a function goes over them on executors.

Executors open keys by their own role: what travels is the function and those settings that say where things are, and as
whom it is done. A task holds in memory a row group of what it reads, beside its decoding process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from resources.compute import BatchFunction, Span, Tools, cpu_seconds
from resources.decoding import DecodePool
from resources.keys import open_key_store
from resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

Bounds = Sequence[tuple[str, str, int, int, int]]
"""Topic, topic id, partition, and offsets: behind the first, up to the second."""

_TRAVELLING = (
    "home",
    # Whom the work is done as, else it would be whom the executor's environment names; the key of it stays.
    "kafka_certificate",
    "keys",
    "keys_provider",
    "keys_kms_key",
    "keys_profile",
    "kms_endpoint",
    "aws_region",
    "s3_endpoint",
    "s3_ca",
    "s3_credentials",
    "s3_kms_key",
    "key_cache_seconds",
    "max_image_bytes",
    "max_pixels",
    "thumbnail_pixels",
    "unsealed",
    "decode_memory_mb",
    "decode_timeout_seconds",
)
"""Settings that say where things are and what an image may be; none of them is a secret."""


_RAISED = re.compile(r"(: )?[A-Za-z_][\w.]*: \S")
"""How Python begins the last part of a traceback, and Java its own: the exception's name and message."""


@dataclass(frozen=True)
class Work:
    """A function, and what it needs to know where it runs; may be pickled."""

    run: Callable[..., Iterator[pa.RecordBatch]]
    columns: tuple[str, ...]
    result: pa.Schema
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, function: BatchFunction, settings: Settings) -> Work:
        """The work of a function under the settings of whoever asks."""
        given = settings.model_dump(mode="json", include=set(_TRAVELLING))
        return cls(function.run, function.columns, function.result, given)


def bounds_of(span: Span) -> Bounds:
    """A span's bounds as plain values, which JSON can hold."""
    return [(at.topic, at.topic_id, at.partition, after, last) for at, (after, last) in sorted(span.bounds.items())]


def worked(session: SparkSession, uri: str, version: int, bounds: Bounds, work: Work) -> tuple[DataFrame, Any]:
    """What the work makes of the rows of one version of a table, and a Spark accumulator of its CPU seconds.

    Args:
        uri: of the Delta table.
        bounds: which rows.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    spent = session.sparkContext.accumulator(0.0)
    rows = session.read.format("delta").option("versionAsOf", version).load(uri).where(_within(bounds))
    task = functools.partial(_on_executor, work, spent)
    return rows.select(*work.columns).mapInArrow(task, from_arrow_schema(work.result)), spent


def _on_executor(work: Work, spent: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What an executor's Python process runs; its tools stay for its next task."""
    began = cpu_seconds()
    tools = _tools(tuple(sorted(work.settings.items())))
    for batch in work.run(tools, batches):
        yield batch.cast(work.result)
    spent.add(cpu_seconds() - began)


@functools.cache
def _tools(given: tuple[tuple[str, Any], ...]) -> Tools:
    # One task runs in this process at a time: one decoding process, which ends with this one, keeps a core busy.
    settings = load_settings({**dict(given), "decode_workers": 1})
    return Tools(settings, open_key_store(settings), DecodePool(settings))


def _within(bounds: Bounds) -> Column:
    from pyspark.sql import functions as f

    conditions = [
        (f.col("topic") == topic)
        & (f.col("topic_id") == topic_id)
        & (f.col("partition") == partition)
        & (f.col("offset") > after)
        & (f.col("offset") <= last)
        for topic, topic_id, partition, after, last in bounds
    ]
    return functools.reduce(lambda one, other: one | other, conditions)


def cause_of(error: BaseException) -> str:
    """What a Spark error says happened, not where: a Python failure's own message, without the way it took."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("\tat ")]
    raised = [at for at, line in enumerate(lines) if _RAISED.match(line)]
    said = lines[raised[-1] : raised[-1] + 4] if raised else lines[:1]
    return " ".join(line.strip() for line in said if "SQLSTATE" not in line)[:600] or type(error).__name__


def is_exhaustion(error: BaseException | str) -> bool:
    """Whether a Spark error says that memory ran out, or that a process was killed at its work as for that."""
    return bool(_EXHAUSTED.search(str(error)))


_EXHAUSTED = re.compile(
    r"\bMemoryError\b|OutOfMemoryError|Python worker exited unexpectedly|exit code 137|Container killed"
)
"""Words of Python, Java, PySpark (a worker that the system killed), Linux and resource managers."""
