"""Answers of the sub-second lane into recognised_images, each once an image and version of a model.

It follows recognised_stream by offset, with identifiers of its own per partition in the same commits as the rows, and
under the guard that all writers of the table share (`resources.tracked_table`): killed anywhere, the next run finds the
rest; of two runs at once one looks again. What an answer claims is believed only where it opens under the image's own
key and names the very record (topic id, partition, offset) whose features the lake holds under that key; and only the
first for each id, model and version. The batch lane then names what has no answer.

An answer may land before its image is developed. The offset then stops before it, while others go on, until the image
is there or `PATIENCE` has passed since the answer was appended; looking again is harmless, for rows are compared. An
answer to a record that was developed and has no features (a resend, a picture that is none) is passed over at once.

Limits: what was passed over is not looked at again; a replayed image is the batch lane's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from resources.bronze import read_since
from resources.following import DARK
from resources.key_protocol import Keys
from resources.lake import Lake
from resources.lake_commits import until_committed
from resources.progress import featuring_of, merging_of
from resources.records import Record, records_of
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from resources.waiting import landed_positions
from transforms.envelope import EnvelopeError, clear_of
from transforms.landing_protocol import Position
from transforms.messages import Recognition, open_recognition
from transforms.names import DataKey
from transforms.reasons import Reason
from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES, RECOGNISED_STREAM

LANE = "stream"
CHUNK_BYTES = 4 * 1024 * 1024
"""Of bronze, some 6,000 answers."""
PATIENCE = timedelta(minutes=10)

DOUBLED, NO_IMAGE, TOO_LATE = "answered already", "no such image", "not developed in time"
"""Why an authentic answer makes no row; those that do not open have a reason code."""

_ANSWER = ["id", "model", "model_version"]
_PLACE = ["topic_id", "partition", "offset"]
_OPENED = {
    "at": pl.Int64,
    "id": pl.String,
    "key": pl.String,
    "model": pl.String,
    "model_version": pl.String,
    "label": pl.String,
    "probability": pl.Float64,
    "scored_at": pl.Datetime("us", "UTC"),
    "topic": pl.String,
    "topic_id": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
}
_SAID = tuple(name for name in _OPENED if name not in ("at", "key"))


@dataclass
class Merged:
    """What one run did: rows added, answers passed over by reason, answers that wait for their image, commits."""

    rows: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    commits: int = 0


@dataclass(frozen=True)
class _Chunk:
    """What became of a chunk of answers."""

    rows: pa.Table
    reached: Mapping[Position, int]
    passed_over: Counter[str]
    waiting: Mapping[Position, int]
    """Answers that wait, by partition of the topic of answers."""


def merge_answers(
    lake: Lake,
    keys: Keys,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[int], None] | None = None,
) -> Merged:
    """Take in the answers that have landed.

    Args:
        progress: told after each chunk how many rows were added so far.

    Raises:
        TransientFailure: keys or lake are away, or other writers kept being first. What was committed stands.
    """
    run = _Run(lake, keys, now)
    until_committed(lambda: run.follow(progress), run.table.refresh)
    return run.done


def rows_by_lane(lake: Lake) -> dict[str, int]:
    """Rows of recognised_images by the lane that scored them."""
    counted = pl.scan_delta(lake.ensure(RECOGNISED_IMAGES)).group_by("lane").len()
    return dict(lake.collect(counted, RECOGNISED_IMAGES.name).iter_rows())


class _Run:
    def __init__(self, lake: Lake, keys: Keys, now: Callable[[], datetime]) -> None:
        self._lake = lake
        self._now = now
        self._sealed = SealedRows(keys)
        self.table = TrackedTable(lake, RECOGNISED_IMAGES, merging_of)
        self.done = Merged()

    def follow(self, progress: Callable[[int], None] | None) -> None:
        """To the end of what has landed; continues behind the identifiers as they are now."""
        bronze = self._lake.ensure(RECOGNISED_STREAM)
        features = self._lake.ensure(IMAGE_FEATURES)
        starts = {at: self.table.last(at) for at in landed_positions(self._lake, bronze, RECOGNISED_STREAM)}
        self.done.waiting = 0
        # Behind the first answer that waits, offsets stand still; rows are added all the same.
        held: set[Position] = set()
        for batch in read_since(self._lake, starts, CHUNK_BYTES, handle=bronze, spec=RECOGNISED_STREAM):
            chunk = self._chunk(list(records_of(batch)), features, held)
            held.update(chunk.waiting)
            self.table.append(chunk.rows, chunk.reached)
            self.done.rows += chunk.rows.num_rows
            self.done.passed_over += chunk.passed_over
            self.done.waiting += sum(chunk.waiting.values())
            self.done.commits = self.table.commits
            if progress is not None:
                progress(self.done.rows)

    def _chunk(self, records: list[Record], features: DeltaTable, held: set[Position]) -> _Chunk:
        opened, passed_over = self._opened(records)
        images = pl.scan_delta(features).filter(pl.col("id").is_in(opened["id"].to_list()))
        images = self._lake.collect(images.select("id", "day", "pseudonym", "key", *_PLACE), IMAGE_FEATURES.name)
        found = opened.join(images, on=["id", "key", *_PLACE], how="left", maintain_order="left")
        waiting = self._waiting(found.filter(pl.col("pseudonym").is_null()), records, features, passed_over)
        there = found.filter(pl.col("pseudonym").is_not_null())
        named = pl.scan_delta(self.table.handle).filter(pl.col("id").is_in(there["id"].to_list())).select(_ANSWER)
        made = self.table.collect(named)
        new = there.unique(_ANSWER, keep="first", maintain_order=True).join(made, on=_ANSWER, how="anti")
        passed_over[DOUBLED] += there.height - new.height
        reached: dict[Position, int] = {}
        stopped = set(held)
        waits: Counter[Position] = Counter()
        for index, record in enumerate(records):
            at = record.position
            if index in waiting:
                stopped.add(at)
                waits[at] += 1
            if at not in stopped:
                reached[at] = record.offset
        return _Chunk(self._rows(new), reached, +passed_over, waits)

    def _opened(self, records: list[Record]) -> tuple[pl.DataFrame, Counter[str]]:
        """The answers that open, `at` their place in `records`; and how many do not, by reason."""
        rows: list[dict[str, Any]] = []
        passed_over: Counter[str] = Counter()
        for at, record in enumerate(records):
            try:
                opened = self._open(record)
            except EnvelopeError as error:
                passed_over[error.reason.value] += 1
                continue
            if opened is None:
                passed_over[DARK] += 1
                continue
            key, said = opened
            said_of = {name: getattr(said, name) for name in _SAID}
            rows.append({"at": at, "key": key.name, **said_of})
        return pl.DataFrame(rows, schema=_OPENED, orient="row"), passed_over

    def _open(self, record: Record) -> tuple[DataKey, Recognition] | None:
        """An answer, and the key it was sealed under; None where that is destroyed or was never held."""
        if record.payload is None:
            raise EnvelopeError(Reason.TOMBSTONE, Reason.TOMBSTONE.sentence)
        clear = clear_of(record.headers)
        if clear is None:
            raise EnvelopeError(Reason.NOT_SEALED, Reason.NOT_SEALED.sentence)
        key = self._sealed.key(clear.key)
        if key is None:
            return None
        said = open_recognition(clear, record.payload, key)
        if not (_can_be(said) and 0 <= said.probability <= 1):
            raise EnvelopeError(Reason.TAMPERED, f"The answer about {clear.id} says what cannot be.")
        return key, said

    def _waiting(
        self, missing: pl.DataFrame, records: list[Record], features: DeltaTable, passed_over: Counter[str]
    ) -> set[int]:
        """Of the answers whose image has no row: places in `records` of those that are worth waiting for."""
        waiting = set()
        oldest = self._now() - PATIENCE
        developed: dict[Position, int] = {}
        for row in missing.select("at", "topic", *_PLACE).iter_rows(named=True):
            image = Position(row["topic"], row["partition"], row["topic_id"])
            if image not in developed:
                found = self._lake.identifier(features, featuring_of(image))
                developed[image] = -1 if found is None else found
            if row["offset"] <= developed[image]:
                passed_over[NO_IMAGE] += 1
            elif records[row["at"]].appended_at < oldest:
                passed_over[TOO_LATE] += 1
            else:
                waiting.add(row["at"])
        return waiting

    def _rows(self, new: pl.DataFrame) -> pa.Table:
        rows = []
        for row in new.drop("at").iter_rows(named=True):
            row["label"] = self._sealed.seal(RECOGNISED_IMAGES, row, "label", row["label"].encode())
            rows.append({**row, "lane": LANE})
        return pa.Table.from_pylist(rows, schema=RECOGNISED_IMAGES.schema)


def _can_be(said: Recognition) -> bool:
    """Whether there can be such a record."""
    try:
        return bool(Position(said.topic, said.partition, said.topic_id).app_id) and (
            said.partition < 2**31 and 0 <= said.offset < 2**63
        )
    except ValueError:
        return False
