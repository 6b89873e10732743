"""What is kept for how long: which tables hold images or what is of a person, and when a day of theirs is over.

A day's images are kept on that day and the days after it, `retention_days` in all, and purged when the next begins
(UTC). What came late for its day, as an envelope may by a day, is kept as long: the day is over when the youngest of
its records is.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from transforms.shop_tables import SHOP_TABLES
from transforms.tables import (
    DAILY_UPLOADS,
    IMAGE_FEATURES,
    LABEL_CORRECTIONS,
    LABEL_TRUST,
    PROCESSED_IMAGES,
    QUARANTINED_IMAGES,
    RAW_IMAGES,
    RECOGNISED_IMAGES,
    RECOGNISED_STREAM,
    RECOGNITION_QUALITY,
    TRAINING_SET,
    TableSpec,
)

if TYPE_CHECKING:
    import polars as pl

ERASED_HEADER = "darkroom-erased"
"""The one header of a row of bronze that was erased: it keeps its place, and has no key and no payload."""

BRONZE: tuple[TableSpec, ...] = (RAW_IMAGES, LABEL_CORRECTIONS, RECOGNISED_STREAM)
"""Tables that topics land in: their `timestamp` is the broker's word on a record's age."""

PURGED: tuple[TableSpec, ...] = (
    # Processed first: what counts the living days counts those that it has.
    PROCESSED_IMAGES,
    QUARANTINED_IMAGES,
    RECOGNISED_IMAGES,
    IMAGE_FEATURES,
    TRAINING_SET,
    LABEL_TRUST,
    # Bronze last: while its rows stand, Kafka's part can be told.
    *BRONZE,
)
"""Tables that lose a day's rows with the day, in the order in which they do."""

KEPT: tuple[TableSpec, ...] = (DAILY_UPLOADS, RECOGNITION_QUALITY, *SHOP_TABLES)
"""Tables of counts, and of things: no row is of one image or of one who sent it."""


def over(day: date, youngest: date, today: date, days: int) -> bool:
    """Whether a day's images have been kept long enough.

    Args:
        day: of the images.
        youngest: day on which the youngest record of that day was appended.
        today: the present, in UTC.
        days: on how many days they are kept, their first among them.
    """
    return max(day, youngest) + timedelta(days=days) <= today


def erased_rows() -> pl.Expr:
    """Which rows of bronze keep a place alone, by `key`, `headers` and `payload_sha256`; never null."""
    # Here, not above: who only asks which tables are purged does without it.
    import polars as pl

    names = pl.col("headers").list.eval(pl.element().struct.field("key"))
    marked = (names.list.len() == 1) & names.list.contains(ERASED_HEADER)
    return marked.fill_null(False) & pl.col("key").is_null() & pl.col("payload_sha256").is_null()
