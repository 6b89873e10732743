"""Developing: from where it stopped to the end of bronze, each record to one row of one table.

Mechanism: both derived tables keep, per Kafka partition, the last offset developed, as transaction identifiers in the
same commits as their rows (`resources.derived_tables`). A run begins behind the lower of the two, takes bronze in
chunks of at most 512 records or 16 MiB, and commits each chunk: quarantine first, then processed images. Killed
anywhere, the next run finds the same rows to write; two runs at once write each row once.

A record can be bad, and then it has a row in quarantine; it cannot stop the stream. What is away (keys, lake, decoding
processes) stops the run with a transient failure, and judges nobody. The projection `image_status` is told afterwards,
and may be away: it is filled again from the lake.

Limits: a run begins by reading one column of processed_images, 8 bytes an image in memory.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable

from resources.bronze import read_since
from resources.compute import Compute, LocalCompute, Tools, map_in_parts, spans_behind
from resources.derived_tables import DerivedTables
from resources.develop_batches import DEVELOP, judged_of
from resources.developed_rows import Bad, Good
from resources.judging import Decoder, Judged, judge
from resources.key_protocol import Keys
from resources.lake import Lake, TableMissing
from resources.lake_commits import until_committed
from resources.opening import Opener
from resources.records import Record, records_of
from resources.settings import Settings
from resources.status_telling import StatusWriter, tell
from resources.waiting import landed_positions, records_behind
from transforms.landing_protocol import Position
from transforms.reasons import Reason
from transforms.tables import RAW_IMAGES

CHUNK_RECORDS = 512
CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class DevelopResult:
    """What one run of developing did.

    Attributes:
        records: records read from bronze.
        processed: rows added to processed_images.
        quarantined: rows added to quarantined_images, by reason.
        duplicates: records whose image had a row already (resends), or whose own row stood already.
        seconds: wall time by part: read, open, decode, write.
        positions: the last offset developed, by partition.
        commits: commits to both tables.
    """

    records: int
    processed: int
    quarantined: Mapping[Reason, int]
    duplicates: int
    seconds: Mapping[str, float]
    positions: Mapping[Position, int]
    commits: int


class Developer:
    """Develops what bronze holds beyond the last offset developed.

    Args:
        settings: limits, policy for unsealed records.
        lake: the tables.
        keys: the key store.
        status: the projection; None to write none.
        pool: where images are decoded.
        now: the time rows are stamped with, with a zone.
        far: the backend that opens and decodes; None for this process and `pool`.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        keys: Keys,
        status: StatusWriter | None,
        pool: Decoder,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        far: Compute | None = None,
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._keys = keys
        self._status = status
        self._pool = pool
        self._now = now
        self._far = far

    def develop(self, progress: Callable[[int, int], None] | None = None) -> DevelopResult:
        """Develop to the end of bronze as it is now.

        Args:
            progress: told after each chunk how many records are done, of how many.

        Raises:
            TransientFailure: keys, lake or decoding processes are away, or another writer kept being first. What was
                committed stands; running again goes on from there.
        """
        run = _Run(DerivedTables(self._lake))
        try:
            bronze = self._lake.open(RAW_IMAGES.name)
        except TableMissing:
            return run.result({})
        landed = landed_positions(self._lake, bronze)
        start = run.tables.positions(landed)
        behind = {at: offset for at, offset in start.items() if offset < landed[at]}
        total = records_behind(self._lake, bronze, behind) if behind else 0
        if behind:
            work = self._here(run, bronze, start) if self._far is None else self._away(self._far, run, bronze, start)
            for _ in work:
                if progress is not None:
                    progress(min(run.records, total), total)
        # Holes at a log's end have no record; and quarantine keeps step where nothing was bad.
        self._commit(run, Judged(), {at: max(landed[at], run.reached.get(at, -1)) for at in landed}, level=True)
        return run.result(run.tables.positions(landed))

    def _here(self, run: _Run, bronze: DeltaTable, start: Mapping[Position, int]) -> Iterator[None]:
        for chunk in self._chunks(run, bronze, start):
            self._develop_chunk(run, chunk, start)
            yield

    def _away(self, far: Compute, run: _Run, bronze: DeltaTable, start: Mapping[Position, int]) -> Iterator[None]:
        """Spans of bronze on the backend, each committed here: the tables keep one writing engine."""
        for span in spans_behind(self._lake, bronze, RAW_IMAGES, start, far.span_rows):
            began = time.perf_counter()
            batches, alone = map_in_parts(self._lake, far, DEVELOP, bronze, span)
            # What the backend has no memory for is developed here, where decoding has a limit and so a verdict.
            batches += [batch for one in alone for batch in self._beside.map_batches(DEVELOP, one)]
            judged = judged_of(batches)
            run.seconds["decode"] += time.perf_counter() - began
            run.records += span.rows
            quarantined = run.tables.quarantined_among([one.place for one in judged.good])
            # As here: what another developer did meanwhile, and what was turned away before, stays as it is.
            new = [one for one in judged.good if one.place not in quarantined and run.is_new(one, start)]
            refused = [one for one in judged.refused if run.is_new(one, start)]
            run.reached.update(span.to)
            self._commit(run, Judged(new, refused), span.to)
            yield

    @property
    def _beside(self) -> LocalCompute:
        """This process as a backend."""
        return LocalCompute(self._lake, Tools(self._settings, self._keys, self._pool))

    def _chunks(self, run: _Run, bronze: DeltaTable, start: Mapping[Position, int]) -> Iterator[list[pa.RecordBatch]]:
        """Batches of bronze, joined until they are worth a commit and never more than its bounds."""
        chunk: list[pa.RecordBatch] = []
        rows = size = 0
        batches = read_since(self._lake, start, CHUNK_BYTES, handle=bronze)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            run.seconds["read"] += time.perf_counter() - began
            if batch is None:
                break
            for row in range(0, batch.num_rows, CHUNK_RECORDS):
                part = batch.slice(row, CHUNK_RECORDS)
                if chunk and (rows + part.num_rows > CHUNK_RECORDS or size + part.nbytes > CHUNK_BYTES):
                    yield chunk
                    chunk, rows, size = [], 0, 0
                chunk.append(part)
                rows, size = rows + part.num_rows, size + part.nbytes
        if chunk:
            yield chunk

    def _develop_chunk(self, run: _Run, chunk: Sequence[pa.RecordBatch], start: Mapping[Position, int]) -> None:
        records: list[Record] = []
        positions: dict[Position, int] = {}
        for record in (one for batch in chunk for one in records_of(batch)):
            run.records += 1
            at = record.position
            positions[at] = max(positions.get(at, -1), record.offset)
            # Another developer may have been here while this one worked.
            if record.offset > max(start.get(at, -1), run.overtaken.get(at, -1)):
                records.append(record)
        quarantined = run.tables.quarantined_among(
            [one.place for one in records if one.offset <= run.tables.quarantined_position(one.position)]
        )
        records = [one for one in records if one.place not in quarantined]
        judged = judge(records, Opener(self._settings, self._keys), self._pool, run.tables, run.seconds)
        run.reached.update(positions)
        self._commit(run, judged, positions)

    def _commit(self, run: _Run, judged: Judged, positions: Mapping[Position, int], level: bool = False) -> None:
        """Commit a chunk to both tables, however often other writers come first, and tell the projection.

        Quarantine is only written when there is something to say: rows, or (`level`) offsets at the end of a run.
        """
        began = time.perf_counter()
        until_committed(lambda: run.attempt(judged, positions, self._now(), level), lambda: run.look_again(positions))
        run.seconds["write"] += time.perf_counter() - began
        tell(self._status, judged)


class _Run:
    """What one run knows and has counted."""

    def __init__(self, tables: DerivedTables) -> None:
        self.tables = tables
        self.records = 0
        self.processed = 0
        self.quarantined: Counter[Reason] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.reached: dict[Position, int] = {}
        self.overtaken: dict[Position, int] = {}

    def attempt(self, judged: Judged, positions: Mapping[Position, int], at: datetime, level: bool) -> None:
        """One try to commit; what it added is counted."""
        if judged.refused or level:
            for one in self.tables.add_quarantined(judged.refused, positions, at):
                self.quarantined[one.reason] += 1
        self.processed += len(self.tables.add_processed(judged.good, positions, at))

    def is_new(self, one: Good | Bad, start: Mapping[Position, int]) -> bool:
        """Whether nobody developed the record before."""
        at = Position(one.row["topic"], one.row["partition"], one.row["topic_id"])
        return one.row["offset"] > max(start.get(at, -1), self.overtaken.get(at, -1))

    def look_again(self, positions: Mapping[Position, int]) -> None:
        """After a conflict: read the tables anew, and note how far another developer has come."""
        self.tables.refresh()
        for at in positions:
            self.overtaken[at] = self.tables.processed_position(at)

    def result(self, positions: Mapping[Position, int]) -> DevelopResult:
        """The run so far."""
        quarantined = {reason: count for reason, count in self.quarantined.items() if count}
        return DevelopResult(
            records=self.records,
            processed=self.processed,
            quarantined=quarantined,
            duplicates=self.records - self.processed - sum(quarantined.values()),
            seconds={part: round(self.seconds[part], 3) for part in ("read", "open", "decode", "write")},
            positions=dict(positions),
            commits=self.tables.commits,
        )
