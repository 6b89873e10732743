"""Fills the projection `image_status` again from the lake, day by day.

Mechanism: the projection only moves forward, so writing every row of quarantine and of processed images gives the same
table as having written each in its time. Limits: images that have landed and were not developed yet are left to
developing; records without an image id, and those that came unsealed (their id may be another image's), nobody can
ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from resources.lake import Lake, TableMissing
from resources.postgres import StatusRow
from transforms.names import KeyName
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, TableSpec

if TYPE_CHECKING:
    from resources.postgres import ImageStatus

ROWS_AT_ONCE = 5000


def rebuild(lake: Lake, status: ImageStatus) -> dict[str, int]:
    """Write the state of every image of the lake; returns how many rows of each state were written.

    Raises:
        TransientFailure: PostgreSQL or the lake is away; what was written stands, and running again completes it.
    """
    counts = {"quarantined": 0, "processed": 0}
    for state, spec in (("quarantined", QUARANTINED_IMAGES), ("processed", PROCESSED_IMAGES)):
        rest = _rows(lake, spec, state)
        while rows := list(islice(rest, ROWS_AT_ONCE)):
            status.put_many(rows)
            counts[state] += len(rows)
    return counts


def _rows(lake: Lake, spec: TableSpec, state: str) -> Iterator[StatusRow]:
    try:
        table = pl.scan_delta(lake.open(spec.name))
    except TableMissing:
        return
    # Null where no envelope opened: that image came unsealed.
    sealed = "key" if state == "quarantined" else "via"
    columns = list(dict.fromkeys(["id", "pseudonym", "key", sealed, *(["reason"] if state == "quarantined" else [])]))
    for (day,) in lake.collect(table.select("day").unique().sort("day"), spec.name).iter_rows():
        frame = table.filter(pl.col("day") == day).select(columns).drop_nulls(["id", "pseudonym", sealed])
        for row in lake.collect(frame, spec.name).iter_rows(named=True):
            # The pseudonym is of the key's day; the row's differs for a record appended more than a day off.
            yield StatusRow(row["id"], KeyName.parse(row["key"]).day, row["pseudonym"], state, row.get("reason"))
