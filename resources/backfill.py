"""Days developed anew, after something about developing changed: a limit, a decoder, the size of thumbnails.

Mechanism: the data files of processed_images are taken one by one. Each row's record is read again from bronze, opened
and decoded on any backend, and the file's rows are put in the place of the old ones as one commit; no identifier that
says how far landing or developing came is moved. A file whose rows are all younger than the backfill is done: stopped
anywhere, it goes on where it was. Records in quarantine are tried again by `resources.replay`.

What is no image any more goes to quarantine, before its row goes from processed_images: killed in between, the next try
finds it in both and takes the row out. What cannot be opened any more (its key was destroyed, or bronze let it go)
keeps the row that it has. Vectors made of an older thumbnail are made anew by `remeasure_day`.

Limits: `near_duplicate_of` is kept as it was. Answers of models stay: they name the image, and not the thumbnail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from resources.compute import Compute, map_in_parts, span_of
from resources.data_files import read_file
from resources.derived_tables import places_among
from resources.develop_batches import DEVELOP, judged_of
from resources.developed_rows import Bad, Good, processed_table, quarantined_table
from resources.judging import Judged
from resources.lake import Lake
from resources.lake_commits import until_committed
from resources.lake_log import files_of
from resources.progress import developing_of, featuring_of
from resources.status_telling import StatusWriter, tell
from resources.tracked_table import TrackedTable
from transforms.reasons import Reason
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES

DARK = (Reason.KEY_DESTROYED, Reason.UNKNOWN_KEY, Reason.ERASED)
"""Verdicts that say nothing about the image."""
_PLACE = ["topic_id", "partition", "offset"]
_ORIGIN = ["topic", *_PLACE]


@dataclass
class Redeveloped:
    """What was done to a day. `kept`: rows whose record cannot be opened any more, as they were."""

    day: date
    files: int = 0
    rows: int = 0
    kept: int = 0
    quarantined: int = 0
    done_before: int = 0


def days_held(lake: Lake, first: date, last: date) -> dict[date, int]:
    """Days of processed_images in a range, both ends included, and how many rows each has; from the log alone.

    Raises:
        ValueError: the range ends before it begins.
    """
    if last < first:
        raise ValueError(f"The days from {first} to {last} are none: the first must not be after the last.")
    found: dict[date, int] = {}
    for file in files_of(TrackedTable(lake, PROCESSED_IMAGES, developing_of).handle):
        day = file["partition.day"]
        if first <= day <= last:
            found[day] = found.get(day, 0) + file["num_records"]
    return dict(sorted(found.items()))


def redevelop_day(
    lake: Lake,
    compute: Compute,
    day: date,
    not_before: datetime,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[int, int], None] | None = None,
    status: StatusWriter | None = None,
) -> Redeveloped:
    """Develop the images of a day anew.

    Args:
        compute: where records are opened and decoded.
        not_before: rows developed at this instant or later are done; give the same one to go on after a stop.
        progress: told after each file how many rows are done, of how many.
        status: the projection; None to write none.

    Raises:
        TransientFailure: keys, lake or the backend are away, or other writers kept being first. What was committed
            stands; the same call goes on from there.
    """
    done = Redeveloped(day)

    def attempt() -> Redeveloped:
        table = TrackedTable(lake, PROCESSED_IMAGES, developing_of)
        files = [file for file in files_of(table.handle) if file["partition.day"] == day]
        total = sum(file["num_records"] for file in files)
        # Of files that an earlier attempt rewrote: known by their time.
        done.done_before = 0
        for file in files:
            bad = _redevelop_file(lake, compute, table, file, not_before, now(), done)
            tell(status, Judged(refused=bad))
            if progress is not None:
                progress(done.rows + done.kept + done.done_before, total)
        return done

    return until_committed(attempt)


def remeasure_day(lake: Lake, day: date) -> int:
    """Take out vectors that are older than the thumbnail they were made of; the next run of features makes them anew.

    Returns:
        How many were taken out.

    Raises:
        TransientFailure: the lake is away, or other writers kept being first.
    """

    def attempt() -> int:
        table = TrackedTable(lake, IMAGE_FEATURES, featuring_of)
        made = pl.scan_delta(lake.ensure(PROCESSED_IMAGES)).filter(pl.col("day") == day)
        held = table.collect(pl.scan_delta(table.handle).filter(pl.col("day") == day))
        times = lake.collect(made.select("id", *_PLACE, "processed_at"), PROCESSED_IMAGES.name)
        joined = held.join(times, on=["id", *_PLACE], how="left", maintain_order="left")
        old = (joined["computed_at"] < joined["processed_at"]).fill_null(value=False)
        if not old.any():
            return 0
        table.replace_days(held.filter(~old).to_arrow(), [day], {})
        return int(old.sum())

    return until_committed(attempt)


def _redevelop_file(
    lake: Lake,
    compute: Compute,
    table: TrackedTable,
    file: dict[str, Any],
    not_before: datetime,
    at: datetime,
    done: Redeveloped,
) -> list[Bad]:
    """One file; returns what is no image any more."""
    rows = read_file(lake, PROCESSED_IMAGES, file)
    if (rows["processed_at"] >= not_before).all():
        done.done_before += rows.height
        return []
    bronze = lake.open(RAW_IMAGES.name)
    good: dict[tuple[Any, ...], Good] = {}
    bad: dict[tuple[Any, ...], Bad] = {}
    ordered = rows.sort(_ORIGIN)
    for start in range(0, ordered.height, compute.span_rows):
        part = ordered.slice(start, compute.span_rows)
        # A record that is too much for the backend is neither good nor bad: its row stays.
        span = span_of(bronze, RAW_IMAGES, part.select(_ORIGIN))
        judged = judged_of(map_in_parts(lake, compute, DEVELOP, bronze, span)[0])
        wanted = set(part.select(_PLACE).iter_rows())
        good |= {one.place: one for one in judged.good if one.place in wanted}
        bad |= {one.place: one for one in judged.refused if one.place in wanted and one.reason not in DARK}
    kept = [row for row in ordered.iter_rows(named=True) if (_place(row) not in good and _place(row) not in bad)]
    near = {_place(row): row["near_duplicate_of"] for row in ordered.iter_rows(named=True)}
    fresh = [good[place] for place in near if place in good]
    new = processed_table(fresh, [near[one.place] for one in fresh], at)
    old = pa.Table.from_pylist(kept, schema=PROCESSED_IMAGES.schema)
    _quarantine(lake, list(bad.values()), at)
    table.replace_files([one for one in (new, old) if one.num_rows], [file["path"]])
    done.files += 1
    done.rows += len(fresh)
    done.kept += len(kept)
    done.quarantined += len(bad)
    return list(bad.values())


def _quarantine(lake: Lake, bad: list[Bad], at: datetime) -> None:
    if not bad:
        return
    table = TrackedTable(lake, QUARANTINED_IMAGES, developing_of)
    known = places_among(table, [one.place for one in bad])
    table.append(quarantined_table([one for one in bad if one.place not in known], at), {})


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)
