"""The purge: what is over is taken away, everywhere it lies, and nothing that is younger.

Why: images and what is of a person are kept `retention_days`, and then nobody may have them. Mechanism, in this order:
the day's key is destroyed, which makes every copy dark that was sealed, those elsewhere too; Kafka deletes the records
before the first that still lives; the rows go, table by table, by the names of their files, and bronze last; the files
themselves go; the states in PostgreSQL go, and what lay under the day's key in the key store. Each step looks at what
stands and not at what was done: stopped anywhere, the next purge finishes it, and two at once do it together.

What is over is told by records (`resources.purge_days`). And two clocks have to agree, this process's and PostgreSQL's,
before anything is destroyed.

Limits: Kafka's disk keeps bytes until the segment that they lie in is closed and behind the low watermark. A version of
a table from before the purge can no longer be read where it needs a file of a purged day. What a bucket with versions
keeps of a purge that was stopped is left to its lifecycle rule (docs/retention.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from resources.failures import TransientFailure
from resources.key_life import KeyLife
from resources.purge_days import Day, past_days
from resources.purge_kafka import delete_over
from transforms.retention import PURGED, over

if TYPE_CHECKING:
    from resources.key_holds import HeldKey
    from resources.lake import Lake
    from resources.postgres import ImageStatus
    from resources.settings import Settings
    from transforms.tables import TableSpec

CLOCKS_APART = timedelta(hours=1)
"""Further apart, two clocks are one too many."""
TRIES = 5


class ClocksDisagree(TransientFailure):
    """This process and PostgreSQL do not agree on the time; nothing was purged."""


@dataclass
class Purged:
    """What one purge did."""

    days: list[Day] = field(default_factory=list)
    keys: int = 0
    key_files: int = 0
    """Wrapped data keys of destroyed days, and what belonged to them."""
    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    states: int = 0
    kafka: dict[str, dict[int, int]] = field(default_factory=dict)
    """Low watermarks afterwards, by topic and partition."""
    seconds: float = 0.0


class Purge:
    """Finds the days that are over, and purges them.

    Args:
        settings: of this process.
        lake: the lake.
        status: the projection; its server is the second clock.
        who: in tombstones and audit log.
        now: the present, with a zone.
        witness: another clock's present.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        status: ImageStatus,
        *,
        who: str = "retention",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        witness: Callable[[], datetime] | None = None,
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._status = status
        self._now = now
        self._witness = witness or status.clock
        self._life = KeyLife(settings, who, f"kept {settings.retention_days} days", now=now)

    def days(self) -> list[Day]:
        """Every day that is past its last and has rows or a living key, the oldest first; nothing is changed.

        Raises:
            TransientFailure: lake or key store are away.
        """
        return past_days(self._lake, self._life, self._now().astimezone(UTC).date(), self._settings.retention_days)

    def held(self) -> list[HeldKey]:
        """Data keys of uploaders whose rows stay, on whatever day they lie: a correction comes days after its image.

        Raises:
            TransientFailure: the key store is away.
        """
        return self._life.held_keys()

    def living(self) -> list[date]:
        """The days whose key lives, the oldest first.

        Raises:
            TransientFailure: the key store is away.
        """
        return sorted(self._life.living())

    def run(self) -> Purged:
        """Purge what is due. Repeating it is harmless.

        Raises:
            ClocksDisagree: nothing was purged.
            TransientFailure, AuditUnavailable: what was done until then stands; running again goes on.
        """
        from resources.held_rows import people_of

        started = time.monotonic()
        self._agree()
        done = Purged(self.days())
        due = [one.day for one in done.days if one.due]
        # Those held, too, of which nothing but states or stray files is left.
        kept = sorted({*(one.day for one in done.days if one.kept), *self._life.holds()})
        for day in due:
            if not self._life.is_destroyed(day):
                self._life.destroy_day(day)
                done.keys += 1
        done.kafka = self._purge_kafka(due)
        removed: dict[str, set[str]] = {}
        held = self.held() if due else []
        for spec in PURGED:
            rows, files = self._purge_table(spec, due, held)
            removed[spec.name] = files
            if rows:
                done.rows[spec.name] = rows
        for spec in PURGED:
            done.files += self._sweep(spec, removed[spec.name], kept)
        done.files += self._forget_versions(due)
        last = self._now().astimezone(UTC).date() - timedelta(days=self._settings.retention_days)
        # Those of days that are kept are kept whoever sent them.
        done.states = self._status.forget(last, kept, sorted(people_of(self.held())))
        done.key_files = self._life.clear_days()
        done.seconds = round(time.monotonic() - started, 3)
        return done

    def _agree(self) -> None:
        here, there = self._now(), self._witness()
        if abs(here - there) > CLOCKS_APART:
            raise ClocksDisagree(
                f"Nothing was purged: this process has {here.isoformat(timespec='seconds')}, PostgreSQL "
                f"{there.isoformat(timespec='seconds')}. Set right the clock that is wrong; the next purge goes on.",
                {"here": here.isoformat(), "postgres": there.isoformat()},
            )

    def _purge_kafka(self, due: Collection[date]) -> dict[str, dict[int, int]]:
        return delete_over(self._settings, self._lake, due)

    def _purge_table(self, spec: TableSpec, due: Sequence[date], held: Sequence[HeldKey]) -> tuple[int, set[str]]:
        """Take the rows of these days out of a table, but those of who is held. Returns how many, and the files that
        held them."""
        from resources.held_rows import without_held
        from resources.lake import TableMissing
        from resources.lake_commits import until_committed
        from resources.lake_log import files_of

        def attempt() -> tuple[int, set[str]]:
            try:
                handle = self._lake.open(spec.name)
            except TableMissing:
                return 0, set()
            files = [file for file in files_of(handle) if file["partition.day"] in due]
            files, kept = without_held(self._lake, spec, files, held)
            paths = {file["path"] for file in files}
            if not files:
                return 0, paths
            named = {"darkroom": "purge", "days": ", ".join(map(str, due))}
            self._lake.replace_files(handle, spec, [one.to_arrow() for one in kept], paths, info=named)
            return sum(int(file["num_records"] or 0) for file in files) - sum(map(len, kept)), paths

        return until_committed(attempt, tries=TRIES)

    def _sweep(self, spec: TableSpec, removed: Collection[str], kept: Collection[date]) -> int:
        """Delete the files of days that are over which no version names: those just removed, and what others left."""
        from resources.data_files import unnamed_files
        from resources.lake import TableMissing

        today, days = self._now().astimezone(UTC).date(), self._settings.retention_days

        def chosen(day: date) -> bool:
            return over(day, day, today, days) and day not in kept

        try:
            left = unnamed_files(self._lake, spec, chosen, self._now(), removed)
        except TableMissing:
            return 0
        swept = 0
        with self._lake.reading(spec.name) as (filesystem, folder):
            for _, path in left:
                # Upkeep, or another purge, may have been first.
                with suppress(FileNotFoundError):
                    filesystem.delete_file(f"{folder}/{path}")
                    swept += 1
        return swept

    def _forget_versions(self, due: Sequence[date]) -> int:
        """Delete what a bucket with versions keeps of the files of purged days. Returns how many versions."""
        from botocore.exceptions import BotoCoreError, ClientError

        from resources.lake_failures import answered

        storage = self._lake.storage
        try:
            if not due or not storage.versioned():
                return 0
            return sum(storage.forget_versions(f"{spec.name}/day={day}/") for spec in PURGED for day in due)
        except (BotoCoreError, ClientError) as error:
            raise answered(storage.root, "delete older versions of purged files", error) from error
