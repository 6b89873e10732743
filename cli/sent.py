"""HOME/state/sent.sqlite: what the doors acknowledged, so that nothing is sent twice, today or on any later day.

An image is known by its uploader and the SHA-256 of its bytes, not by its name: a renamed file is the same image, a
changed one is another. Before the first try its `uploaded_at` is written down, and every further try repeats it, also
after a crash of the sender: within a day the door then makes the same id of it, so that a resend adds no second
image.

Limits: this is the sender's own notebook, not the truth; the lake is. Removing the file makes everything new again.
Another label for an image that was acknowledged is not sent. Several senders may share the file (SQLite's write-ahead
log).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from resources.failures import PermanentFailure

REPEAT_FOR = timedelta(hours=23, minutes=50)
"""How long a first `uploaded_at` is repeated: the door refuses one of over 24 hours, and clocks differ."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (
    uploader TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    uploaded_at TEXT NOT NULL,
    acknowledged_at TEXT,
    id TEXT,
    day TEXT,
    topic TEXT,
    partition INTEGER,
    "offset" INTEGER,
    PRIMARY KEY (uploader, sha256)
) STRICT;
CREATE TABLE IF NOT EXISTS straight (
    kind TEXT PRIMARY KEY,
    door_status INTEGER,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    written_at TEXT NOT NULL
) STRICT;
"""


class SentUnreadable(PermanentFailure):
    """The notebook cannot be opened or written; the message says which file, and what to do."""


@dataclass(frozen=True)
class Receipt:
    """What a door answered with 201: the image's id and day, and where the broker keeps the record."""

    id: str
    day: str
    topic: str
    partition: int
    offset: int


class Sent:
    """The notebook of one home. Not for several threads; several processes may have it open.

    Args:
        path: the SQLite file; made, with its folder, where there is none.

    Raises:
        SentUnreadable: the file cannot be opened, or is no notebook of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            # With a write-ahead log NORMAL survives kill -9; a power cut may forget the last lines: they are resent.
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._unreadable("opening", error) from error

    def receipt(self, uploader: str, sha256: str) -> Receipt | None:
        """The acknowledgement of an image, or None where there was none."""
        row = self._run(
            'SELECT id, day, topic, partition, "offset" FROM sent'
            " WHERE uploader = ? AND sha256 = ? AND acknowledged_at IS NOT NULL",
            (uploader, sha256),
        ).fetchone()
        return Receipt(*row) if row else None

    def begin(self, uploader: str, sha256: str, now: datetime) -> datetime:
        """The `uploaded_at` to send an image with: its first one while the door takes it, else `now`, written down."""
        row = self._run("SELECT uploaded_at FROM sent WHERE uploader = ? AND sha256 = ?", (uploader, sha256)).fetchone()
        if row is not None:
            first = datetime.fromisoformat(row[0])
            if timedelta(0) <= now - first < REPEAT_FOR:
                return first
        self._run(
            "INSERT INTO sent (uploader, sha256, uploaded_at) VALUES (?, ?, ?)"
            " ON CONFLICT (uploader, sha256) DO UPDATE SET uploaded_at = excluded.uploaded_at"
            " WHERE acknowledged_at IS NULL",
            (uploader, sha256, now.astimezone(UTC).isoformat()),
        )
        return now

    def acknowledge(self, uploader: str, sha256: str, receipt: Receipt, now: datetime) -> None:
        """Write an acknowledgement down; it is on disk when this returns."""
        self._run(
            'UPDATE sent SET acknowledged_at = ?, id = ?, day = ?, topic = ?, partition = ?, "offset" = ?'
            " WHERE uploader = ? AND sha256 = ?",
            (
                now.astimezone(UTC).isoformat(),
                receipt.id,
                receipt.day,
                receipt.topic,
                receipt.partition,
                receipt.offset,
                uploader,
                sha256,
            ),
        )

    def totals(self) -> tuple[int, int]:
        """How many images doors ever acknowledged, and how many records were ever written straight."""
        sent = self._run("SELECT count(*) FROM sent WHERE acknowledged_at IS NOT NULL", ()).fetchone()[0]
        return sent, self._run("SELECT count(*) FROM straight", ()).fetchone()[0]

    def was_written(self, kind: str) -> bool:
        """Whether a record of this kind was written straight to the broker before."""
        return self._run("SELECT 1 FROM straight WHERE kind = ?", (kind,)).fetchone() is not None

    def wrote(self, kind: str, door_status: int | None, topic: str, partition: int, offset: int, now: datetime) -> None:
        """Write down a record that was written straight to the broker, and what the door had answered before."""
        self._run(
            "INSERT OR REPLACE INTO straight VALUES (?, ?, ?, ?, ?, ?)",
            (kind, door_status, topic, partition, offset, now.astimezone(UTC).isoformat()),
        )

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, statement: str, values: tuple[str | int | None, ...]) -> sqlite3.Cursor:
        try:
            return self._base.execute(statement, values)
        except sqlite3.Error as error:
            raise self._unreadable("using", error) from error

    def _unreadable(self, tried: str, error: Exception) -> SentUnreadable:
        return SentUnreadable(
            f"{tried.capitalize()} the sender's notebook {self._path} failed: {error}. Free space or mend its rights; "
            "if it is damaged, move it away: everything is then sent again, and the platform knows again only what was "
            "first sent that day."
        )
