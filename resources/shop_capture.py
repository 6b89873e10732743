"""Takes every change of an item from PostgreSQL into shop/item_events, exactly once.

The source is the database's own record of changes (shop.changes), which triggers write in the transaction of the
change, and not a replication slot: a slot keeps write-ahead log while nobody reads, until a disk is full or the slot is
lost; reading one needs the right to read everything; and a record can be asked again from any place.

Mechanism: transactions end in another order than they begin, so a reader must not go by the number of a change. It
takes the changes of all transactions below the oldest that is still under way (`Record.settled`): what is committed
there is seen, and nothing more can come. That bound is the identifier `item_events-record-<record id>` of the Delta
commit that brings the events; the next reading goes on from there. Killed anywhere, it is begun again from the table.

What cannot be gone on from is refused (`ChangesLost`): another database, or one that was restored to an earlier state.
A person then has `recapture` begin the log anew from the versions themselves.

Limits: a transaction that stays open holds back the changes of all later ones, of the whole server; a single
transaction is read into memory whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import psycopg

from resources.event_log import EventLog, open_log
from resources.failures import PermanentFailure
from resources.lake import Lake
from resources.shop_reading import Record, changes_since, item_changes, item_versions, record, snapshot
from transforms.shop_changes import INSTANT, events_of_changes, events_of_versions
from transforms.shop_tables import ITEM_EVENTS

MAX_TRANSACTION = 2**63 - 1
COMMIT_CHANGES = 100_000
"""Whole transactions are read until they hold about this many changes, and committed."""

Progress = Callable[[int, int], None]


class ChangesLost(PermanentFailure):
    """The table cannot be gone on with from this database; nothing was written."""


@dataclass(frozen=True)
class Captured:
    """Changes read, events written, in how many commits; and what was left for a later run."""

    changes: int
    events: int
    commits: int
    held_back: int
    held_back_since: datetime | None


@dataclass(frozen=True)
class Waiting:
    """Changes that the next capture takes, those that an open transaction holds back, and when the first was made."""

    ready: int
    held_back: int
    since: datetime | None


@dataclass(frozen=True)
class Recaptured:
    """How a log that is begun anew compares with the one before it; `done` is false for a dry run."""

    events_before: int
    events_after: int
    items: int
    done: bool


def capture(dsn: str, lake: Lake, progress: Progress = lambda changes, events: None) -> Captured:
    """Take in what the database has recorded since the last time.

    Args:
        dsn: libpq connection string of a login that may read shop.item_changes.
        lake: where shop/item_events lies; the table is made if it is not there.
        progress: told changes and events of each commit.

    Raises:
        ChangesLost: this is not the database that the table was filled from, or an earlier state of it.
        ShopUnavailable, ShopRefused: the database is away, or refused.
        CommitConflict: another capture was first; running again looks again.
    """
    log = open_log(lake, ITEM_EVENTS)
    changes = events = commits = 0
    with snapshot(dsn, "Capturing changes of items") as connection:
        now = record(connection)
        at = _taken(connection, lake, log, now)
        while at < now.settled:
            below = _whole_transactions(connection, at, now.settled)
            found = item_changes(connection, at, below)
            fresh = events_of_changes(found)
            if fresh.height:
                log.append(_stamped(fresh), {_app_id(now): below})
                changes, events, commits = changes + found.height, events + fresh.height, commits + 1
                progress(found.height, fresh.height)
            at = below
        held, since = changes_since(connection, now.settled)
    return Captured(changes, events, commits, held, since)


def waiting(dsn: str, lake: Lake) -> Waiting:
    """What the table does not have yet.

    Raises:
        As `capture`.
    """
    log = EventLog(lake, ITEM_EVENTS) if lake.exists(ITEM_EVENTS.name) else None
    with snapshot(dsn, "Looking for changes of items") as connection:
        now = record(connection)
        at = 0 if log is None else _taken(connection, lake, log, now)
        every, since = changes_since(connection, at)
        held, _ = changes_since(connection, max(at, now.settled))
    return Waiting(every - held, held, since)


def recapture(dsn: str, lake: Lake, *, apply: bool = False) -> Recaptured:
    """Begin the log anew from the versions that the database has; what followed the old log builds itself anew.

    Repeats and losers of ties are not in the versions, and so not in the new log; the history is the same. Earlier
    versions of the Delta table keep the old log until upkeep removes its files.

    Args:
        apply: do it; without, say what would be.

    Raises:
        As `capture`, but never ChangesLost.
    """
    log = open_log(lake, ITEM_EVENTS)
    before = log.collect(log.scan().select(pl.len())).item()
    with snapshot(dsn, "Beginning the events of items anew") as connection:
        # All that this snapshot sees is in the versions. Of what is under way nothing is, and it lies at or above
        # `settled`; what ended between that and `ahead` is seen in both: the fold takes a repeat for what it is.
        now = record(connection)
        events = events_of_versions(item_versions(connection))
    if apply:
        log.restart(_stamped(events), {_app_id(now): now.settled}, "begun anew from the versions")
    return Recaptured(before, events.height, events["item_id"].n_unique(), apply)


def _app_id(now: Record) -> str:
    return f"item_events-record-{now.id}"


def _taken(connection: psycopg.Connection, lake: Lake, log: EventLog, now: Record) -> int:
    """Below which transaction everything is in the log; 0 for a log that was never filled.

    Raises:
        ChangesLost: the log was filled from another database, or from a later state of this one.
    """
    at = log.identifier(_app_id(now))
    if at is None:
        if not log.filled:
            return 0
        raise _lost(lake, f"the database's record of changes is {now.id}, and the table was filled from another")
    if at > now.ahead:
        raise _lost(lake, f"the table has the changes of transactions up to {at}, and the database is at {now.ahead}")
    last = log.read(pl.col("arrival") == log.rows - 1)
    if last.height and last["change_id"][0] is not None:
        transaction, change, changed_at = last.select("transaction", "change_id", "changed_at").row(0)
        found = connection.execute(
            "SELECT changed_at FROM shop.item_changes WHERE transaction = %s::text::xid8 AND change_id = %s",
            (str(transaction), change),
        ).fetchone()
        if found is None or found[0] != changed_at:
            raise _lost(
                lake, f"the table's last change, number {change} of {changed_at}, is not in the database's record"
            )
    return at


def _lost(lake: Lake, found: str) -> ChangesLost:
    return ChangesLost(
        f"Table {ITEM_EVENTS.name} at {lake.uri(ITEM_EVENTS.name)} cannot be gone on with: {found}. The database was "
        "replaced, or restored to an earlier state. Nothing was written. If this is the right database, "
        "`darkroom shop recapture` begins the events anew from its versions.",
        {"table": ITEM_EVENTS.name},
    )


def _whole_transactions(connection: psycopg.Connection, at: int, settled: int) -> int:
    """The bound below which whole transactions hold about COMMIT_CHANGES changes of items."""
    found = connection.execute(
        "SELECT transaction::text::bigint + 1 FROM shop.item_changes"
        " WHERE transaction >= %s::text::xid8 AND transaction < %s::text::xid8"
        " ORDER BY transaction, change_id OFFSET %s LIMIT 1",
        (str(at), str(settled), COMMIT_CHANGES - 1),
    ).fetchone()
    return settled if found is None else int(found[0])


def _stamped(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(captured_at=pl.lit(datetime.now(UTC)).cast(INSTANT))


def changed_since_captured(connection: psycopg.Connection, lake: Lake) -> pl.Series:
    """Ids of the items that have changes which the table does not have, as this snapshot sees it.

    Raises:
        ChangesLost: as `capture`.
    """
    at = _taken(connection, lake, EventLog(lake, ITEM_EVENTS), record(connection))
    return item_changes(connection, at, MAX_TRANSACTION)["item_id"].unique()
