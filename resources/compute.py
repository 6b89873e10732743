"""Where the work on images runs: this process and those it starts, Spark, or Databricks. Storage never knows which.

A `BatchFunction` goes from Arrow record batches to Arrow record batches, and is told with which tools: settings, a key
store and decoding processes of the place where it runs. Key references travel, keys do not: each place opens them under
its own identity, and what a function gives back is sealed. Whoever asked commits the result, so that a table has one
writing engine on every backend, and moves its own identifiers.

Which backend an asset uses is configuration (`compute`, `compute_assets`); results are equal once opened, for nonces
differ (tests/resources/test_compute.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl
import psutil
import pyarrow as pa

from resources.bronze import read_since
from resources.failures import PermanentFailure, TransientFailure
from resources.key_protocol import Keys
from resources.lake import Lake
from resources.settings import Settings
from transforms.landing_protocol import Position
from transforms.table_spec import TableSpec

if TYPE_CHECKING:
    import dagster as dg
    from deltalake import DeltaTable

    from resources.judging import Decoder

MOST_ALONE = 8
"""Rows of a span that may be too much for a backend one by one."""
_ORIGIN = ("topic", "topic_id", "partition", "offset")
LOCAL, SPARK, DATABRICKS = "local", "spark", "databricks"
BATCH_BYTES = 16 * 1024 * 1024
"""Payload that a function is given at a time, here."""


class ComputeRefused(PermanentFailure):
    """The backend cannot be: unknown, not installed, or no cluster of that address."""


class ComputeUnavailable(TransientFailure):
    """The backend did not do the work, and nothing was judged; trying again may help."""


class ComputeExhausted(ComputeUnavailable):
    """Memory ran out where the work was done, or its process was killed; fewer rows at a time may help."""


@dataclass
class Tools:
    """What a function may use where it runs."""

    settings: Settings
    keys: Keys
    pool: Decoder


@dataclass(frozen=True)
class BatchFunction:
    """From batches of a table's rows to batches of others.

    Attributes:
        columns: of the source, in the order in which batches have them.
        result: schema of the batches that it gives.
        run: a function of a module, or a partial of one: it must travel to where the work is.
    """

    columns: tuple[str, ...]
    result: pa.Schema
    run: Callable[[Tools, Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Span:
    """Rows of one version of a table, by where they came from: of each partition of a topic, offsets in (after, to]."""

    spec: TableSpec
    version: int
    bounds: Mapping[Position, tuple[int, int]]
    rows: int
    """How many there are, for planning."""

    @property
    def to(self) -> dict[Position, int]:
        """The last offset of each partition."""
        return {at: last for at, (_, last) in self.bounds.items()}


class Compute(Protocol):
    """A backend."""

    name: str
    span_rows: int
    """Rows worth one call."""

    @property
    def spent(self) -> Mapping[str, float | str]:
        """What its work took so far, for people: CPU seconds, jobs, where to look."""
        ...

    def map_batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        """Run the function over the span's rows; batches come in any order.

        Raises:
            ComputeRefused, ComputeUnavailable: the work was not done.
            TransientFailure: keys or lake are away.
        """
        ...


class LocalCompute:
    """This process, and the decoding processes that it starts: the function runs here, one batch after the other."""

    name = LOCAL
    span_rows = 512

    def __init__(self, lake: Lake, tools: Tools) -> None:
        self._lake = lake
        self._tools = tools

    @property
    def spent(self) -> Mapping[str, float | str]:
        """CPU seconds of this process and of those that decode."""
        return {"CPU seconds": round(cpu_seconds(), 1)}

    def map_batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        """See `Compute.map_batches`."""
        return function.run(self._tools, self._batches(function, span))

    def _batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        handle = self._lake.open(span.spec.name)
        if handle.version() != span.version:
            handle.load_as_version(span.version)
        if span.spec.row_group_by is None:
            wanted = pl.scan_delta(handle).filter(within(span)).select(function.columns)
            rows = self._lake.collect(wanted, span.spec.name)
            yield from rows.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()
            return
        # Bronze: images are read row group by row group, in bounded memory.
        after = {at: first for at, (first, _) in span.bounds.items()}
        for batch in read_since(self._lake, after, BATCH_BYTES, handle=handle, spec=span.spec, until=span.to):
            yield batch.select(list(function.columns))


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that live."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def within(span: Span) -> pl.Expr:
    """Whether a row is of the span."""
    return pl.any_horizontal(
        [
            (pl.col("topic") == at.topic)
            & (pl.col("topic_id") == at.topic_id)
            & (pl.col("partition") == at.partition)
            & pl.col("offset").is_between(after, last, closed="right")
            for at, (after, last) in span.bounds.items()
        ]
    )


def spans_behind(
    lake: Lake, handle: DeltaTable, spec: TableSpec, behind: Mapping[Position, int], rows: int
) -> Iterator[Span]:
    """The rows beyond the offsets given, cut into spans of about `rows`, each partition's in order of offset.

    Only origin columns are read, 16 bytes a row to come.
    """
    if not behind:
        return
    version = handle.version()
    everything = Span(spec, version, {at: (offset, 2**62) for at, offset in behind.items()}, 0)
    found = pl.scan_delta(handle).filter(within(everything)).select("topic", "topic_id", "partition", "offset")
    groups = lake.collect(found, spec.name).group_by("topic", "topic_id", "partition")
    offsets = {
        Position(topic, partition, topic_id): group["offset"].sort() for (topic, topic_id, partition), group in groups
    }
    each = max(1, rows // max(1, len(offsets)))
    done = {at: behind[at] for at in offsets}
    for start in range(0, max((len(one) for one in offsets.values()), default=0), each):
        part = {at: one.slice(start, each) for at, one in sorted(offsets.items())}
        bounds = {at: (done[at], int(one[-1])) for at, one in part.items() if len(one)}
        done |= {at: last for at, (_, last) in bounds.items()}
        yield Span(spec, version, bounds, sum(len(one) for one in part.values()))


def span_of(handle: DeltaTable, spec: TableSpec, rows: pl.DataFrame) -> Span:
    """The smallest span that holds rows with `topic`, `topic_id`, `partition` and `offset`; it may hold others too."""
    ends = rows.group_by("topic", "topic_id", "partition").agg(
        first=pl.col("offset").min(), last=pl.col("offset").max(), rows=pl.len()
    )
    bounds = {
        Position(topic, partition, topic_id): (first - 1, last)
        for topic, topic_id, partition, first, last, _ in ends.sort("topic", "topic_id", "partition").iter_rows()
    }
    return Span(spec, handle.version(), bounds, rows.height)


def map_in_parts(
    lake: Lake, compute: Compute, function: BatchFunction, handle: DeltaTable, span: Span
) -> tuple[list[pa.RecordBatch], list[Span]]:
    """The function over a span; where memory runs out over its halves, and so on down to single rows.

    Args:
        handle: the snapshot that the span is of.

    Returns:
        The batches, and spans of the one row that is too much by itself: nobody has judged it.

    Raises:
        ComputeExhausted: more than MOST_ALONE rows are too much by themselves; it is the backend, and not they.
        ComputeRefused, ComputeUnavailable: as `Compute.map_batches`.
    """
    batches: list[pa.RecordBatch] = []
    alone: list[Span] = []
    waiting = [span]
    while waiting:
        part = waiting.pop()
        try:
            batches += compute.map_batches(function, part)
        except ComputeExhausted:
            those = pl.scan_delta(handle).filter(within(part)).select(*_ORIGIN)
            rows = lake.collect(those, part.spec.name).sort(_ORIGIN)
            if rows.height > 1:
                half = rows.height // 2
                waiting += [span_of(handle, part.spec, one) for one in (rows.slice(half), rows.slice(0, half))]
            elif len(alone) < MOST_ALONE:
                alone.append(part)
            else:
                raise
    return batches, alone


def backend_of(settings: Settings, asset: str) -> str:
    """The backend that an asset's work runs on."""
    return settings.compute_assets.get(asset, settings.compute)


def far_compute(
    settings: Settings, lake: Lake, asset: str, context: dg.OpExecutionContext | dg.AssetExecutionContext
) -> Compute | None:
    """The backend of an asset that is not this process; None for this one.

    Args:
        context: of the step that asks; a backend that has logs puts them there.

    Raises:
        ComputeRefused: it is not installed here, or its settings are not whole.
    """
    name = backend_of(settings, asset)
    if name == LOCAL:
        return None
    if name == DATABRICKS:
        from resources.databricks_compute import DatabricksCompute

        return DatabricksCompute(settings, lake.storage, context, asset)
    from resources.spark_compute import SparkCompute

    return SparkCompute(settings, lake.storage)


def nullable(fields: Iterable[pa.Field]) -> list[pa.Field]:
    """The fields, each of which may be null: a row of a result has some of them only."""
    return [field.with_nullable(True).remove_metadata() for field in fields]


def without(schema: pa.Schema, names: Sequence[str]) -> list[pa.Field]:
    """The fields of other names."""
    return [field for field in schema if field.name not in names]
