"""The writing half of landing: one thread that turns batches into commits, one after the other.

One writer, so that identifiers stay in order. Two batches of memory go round: while one is written the other is filled,
and a batch is given back only when its commit stands. The thread does what needs no Python (Parquet, committing);
tables are made by the reading thread, for two threads of Python wait for each other 5 ms at a time.

Before each commit the broker is asked for the topic's id: if it is still the one that landing began with, every record
read so far is of that topic. A client goes on reading by offset when a topic is deleted and made anew under it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable

from resources.kafka import Admin
from resources.lake import Lake
from resources.lake_commits import CHECKPOINT_EVERY
from resources.landing_reader import TopicChanged
from resources.settings import MEBIBYTE, Settings
from transforms.landing import Batch, ValueBuffer
from transforms.landing_protocol import TopicState, partition_app_id
from transforms.tables import TableSpec

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_BATCHES = 2
_logger = logging.getLogger("darkroom.landing")


class Landed:
    """Counts of a run, over all its attempts."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress = progress
        self.records = 0
        self.bytes = 0
        self.commits = 0
        self.last: dict[int, int] = {}

    def add(self, batch: Batch) -> None:
        """Count a batch whose commit stands."""
        self.records += len(batch)
        self.bytes += batch.bytes
        self.commits += 1
        self.last.update(batch.last)
        if self._progress is not None:
            self._progress(self.records, self.bytes)


class BatchWriter:
    """A context manager around the thread. An error of the thread is raised by the next call."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        spec: TableSpec,
        handle: DeltaTable,
        state: TopicState,
        broker: Admin,
        consumer: Consumer,
        landed: Landed,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._spec = spec
        self._handle = handle
        self._state = state
        self._broker = broker
        self._consumer = consumer
        self._landed = landed
        self._now = now
        self._filled: queue.Queue[tuple[Batch, pa.Table] | None] = queue.Queue()
        self._buffers: queue.Queue[ValueBuffer] = queue.Queue()
        # They grow to what a batch needs: a run of ten images touches one megabyte.
        for _ in range(_BATCHES):
            self._buffers.put(ValueBuffer(MEBIBYTE))
        self._error: BaseException | None = None
        self._positions: dict[str, int | None] = {
            app_id: lake.identifier(handle, app_id)
            for app_id in (partition_app_id(state.topic, p, state.topic_id) for p in state.partitions)
        }
        self._thread = threading.Thread(target=self._work, name="landing-writer", daemon=True)

    def __enter__(self) -> BatchWriter:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it: batches that were handed over are still written, unless it failed."""
        self._filled.put(None)
        self._thread.join()

    def empty(self) -> Batch:
        """A batch to fill; waits until memory is free."""
        buffer = self._buffers.get()
        self._raise()
        return Batch(buffer)

    def put(self, batch: Batch) -> None:
        """Hand over a batch to be written."""
        self._raise()
        if len(batch):
            table = batch.table(self._state.topic, self._state.topic_id, self._settings.origin_cluster, self._now())
            self._filled.put((batch, table))

    def finish(self) -> None:
        """Wait until everything handed over is committed."""
        self._filled.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (filled := self._filled.get()) is not None:
            batch, table = filled
            if self._error is None:
                try:
                    self._write(batch, table)
                except BaseException as error:  # Handed to the reading thread, which raises it.
                    self._error = error
            self._buffers.put(batch.buffer)

    def _write(self, batch: Batch, table: pa.Table) -> None:
        state = self._state
        if (found := self._broker.topic_id(state.topic)) != state.topic_id:
            raise TopicChanged(f"Topic {state.topic} has id {found}, and had {state.topic_id} when landing began.")
        identifiers = {partition_app_id(state.topic, p, state.topic_id): last for p, last in batch.last.items()}
        before = self._handle.version()
        version = self._lake.append(
            self._handle,
            self._spec,
            table,
            identifiers,
            {"darkroom": "landing"},
            after={app_id: self._positions[app_id] for app_id in identifiers},
        )
        self._positions.update(identifiers)
        self._landed.add(batch)
        self._hint(batch)
        if version // CHECKPOINT_EVERY != before // CHECKPOINT_EVERY:
            # A kept handle gets slower with every commit; `after` finds what another writer did meanwhile.
            self._handle = self._lake.open(self._spec.name)

    def _hint(self, batch: Batch) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        offsets = [TopicPartition(self._state.topic, p, last + 1) for p, last in batch.last.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _logger.info("No hint of landed offsets to Kafka: %s", error)
