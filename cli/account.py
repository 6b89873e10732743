"""The demo's sum: every landed record is a processed image, a quarantined record, the resend of a processed image, or
erased.

Counted from the tables, not from what the sender believes: a record belongs to the table that has a row with its
topic id, partition and offset. One that is in neither is a resend if its key is the id of a processed image, or (what
came unsealed has no id in clear) if its stored bytes are those of a record that was processed. What is then left is
unexplained, and must be nothing.

Limit: reads small columns of bronze as a whole, about 150 bytes a record in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from resources.lake import Lake, TableMissing
from transforms.retention import erased_rows
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES, TableSpec

PLACE = ("topic", "topic_id", "partition", "offset")


@dataclass(frozen=True)
class Account:
    """Numbers of records. `quarantined` is by reason code, most first."""

    landed: int
    processed: int
    quarantined: Mapping[str, int]
    resends: int
    unexplained: int
    erased: int = 0
    """Rows that keep an offset's place, and whose words were erased."""

    @property
    def adds_up(self) -> bool:
        """Whether every record is accounted for."""
        known = self.processed + sum(self.quarantined.values()) + self.resends + self.erased
        return self.unexplained == 0 and known == self.landed


@dataclass(frozen=True)
class Since:
    """Only the records from these offsets on, by partition, of one life of a topic."""

    topic: str
    topic_id: str
    offsets: Mapping[int, int]


def take_account(lake: Lake, since: Since | None = None) -> Account:
    """Count what the tables hold.

    Args:
        lake: the tables; one that is not there yet counts as empty.
        since: count only the records from there on.
    """
    bronze = _read(lake, RAW_IMAGES, [*PLACE, "key", "payload_sha256", "headers"]).with_columns(erased=erased_rows())
    processed = _read(lake, PROCESSED_IMAGES, [*PLACE, "id"])
    quarantined = _read(lake, QUARANTINED_IMAGES, [*PLACE, "reason"])
    developed = bronze.join(processed, on=PLACE, how="semi")
    counted = bronze if since is None else bronze.filter(_from(since))
    as_image = counted.join(processed, on=PLACE, how="semi")
    refused = counted.join(quarantined, on=PLACE, how="inner")
    rest = counted.join(processed, on=PLACE, how="anti").join(quarantined, on=PLACE, how="anti")
    known = pl.col("key").cast(pl.String, strict=False).is_in(processed["id"].implode())
    same = pl.col("payload_sha256").is_in(developed["payload_sha256"].implode())
    erased = rest.filter("erased").height
    resends = rest.filter(known.fill_null(False) | same.fill_null(False)).height
    reasons = refused.group_by("reason").len().sort("len", "reason", descending=[True, False])
    return Account(
        landed=counted.height,
        processed=as_image.height,
        quarantined=dict(reasons.iter_rows()),
        resends=resends,
        unexplained=rest.height - resends - erased,
        erased=erased,
    )


def _from(since: Since) -> pl.Expr:
    within = [
        (pl.col("partition") == partition) & (pl.col("offset") >= first) for partition, first in since.offsets.items()
    ]
    return (pl.col("topic") == since.topic) & (pl.col("topic_id") == since.topic_id) & pl.any_horizontal(within)


def _read(lake: Lake, spec: TableSpec, columns: list[str]) -> pl.DataFrame:
    try:
        handle = lake.open(spec.name)
    except TableMissing:
        return pl.DataFrame(spec.schema.empty_table().select(columns))
    return lake.collect(pl.scan_delta(handle).select(columns), spec.name)
