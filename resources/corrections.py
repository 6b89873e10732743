"""Corrected labels, as the training set takes them: of each image the last one that may be believed.

Bronze holds every record of the topic, whoever wrote it. A correction counts where its headers, read in clear, name an
image that is there and the very data key of that image's row, and it opens under that key. Everything else is counted
by reason and passed over; what was said before it stands. Kafka's key is the image's id, so that all corrections of an
image are in one partition, ordered by offset; of a topic that was made anew the later one counts, by when it first
landed. A resend says the same again.

Rows are read in batches; of an image one label is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from resources.bronze import read_since
from resources.following import DARK
from resources.lake import Lake, TableMissing
from resources.records import Record, records_of
from resources.sealed_rows import SealedRows
from resources.waiting import landed_positions
from transforms.envelope import EnvelopeError, clear_of
from transforms.landing_protocol import Position
from transforms.messages import open_correction
from transforms.reasons import Reason
from transforms.tables import LABEL_CORRECTIONS

BATCH_BYTES = 4 * 1024 * 1024
NO_IMAGE, OTHER_KEY, NOT_SEALED, TAMPERED = "no such image", "another key", "not sealed", "does not open"
"""Why a correction is passed over, beside a destroyed key."""


@dataclass(frozen=True)
class Corrections:
    """`labels`: the last word by image id, UTF-8. `records`: how many were read. `refused`: passed over, by reason."""

    labels: Mapping[str, bytes]
    records: int
    refused: Mapping[str, int]


def read_corrections(lake: Lake, sealed: SealedRows, images: Mapping[str, str]) -> Corrections:
    """The corrections of images.

    Args:
        sealed: opens keys.
        images: the name of each image's data key, by id.

    Raises:
        TransientFailure: keys or lake are away.
    """
    labels: dict[str, bytes] = {}
    refused: Counter[str] = Counter()
    records = 0
    try:
        table = lake.open(LABEL_CORRECTIONS.name)
    except TableMissing:
        return Corrections({}, 0, {})
    for positions in _in_order_of_landing(lake, table, landed_positions(lake, table, LABEL_CORRECTIONS)):
        for batch in read_since(lake, positions, BATCH_BYTES, handle=table, spec=LABEL_CORRECTIONS):
            for record in records_of(batch):
                records += 1
                found = _opened(record, sealed, images)
                if isinstance(found, str):
                    refused[found] += 1
                else:
                    labels[found[0]] = found[1]
    return Corrections(labels, records, dict(refused))


def corrected_ids(lake: Lake) -> pl.DataFrame:
    """Ids that corrections name in clear (Kafka's key), one row each in column `id`; opens none, believes all."""
    try:
        table = lake.open(LABEL_CORRECTIONS.name)
    except TableMissing:
        return pl.DataFrame({"id": []}, schema={"id": pl.String})
    named = lake.collect(pl.scan_delta(table).select("key").unique(), LABEL_CORRECTIONS.name)["key"]
    return pl.DataFrame({"id": [key.decode("ascii", "replace") for key in named if key is not None]}, {"id": pl.String})


def _in_order_of_landing(
    lake: Lake, table: DeltaTable, positions: Mapping[Position, int]
) -> Iterator[dict[Position, int]]:
    """The partitions of each topic by itself, from their first offset on; the topic that landed first comes first."""
    first = pl.scan_delta(table).group_by("topic_id").agg(pl.col("landed_at").min()).sort("landed_at", "topic_id")
    for topic_id in lake.collect(first, LABEL_CORRECTIONS.name)["topic_id"]:
        yield {at: -1 for at in positions if at.topic_id == topic_id}


def _opened(record: Record, sealed: SealedRows, images: Mapping[str, str]) -> tuple[str, bytes] | str:
    """Id and label of a correction that counts, or why it does not."""
    try:
        clear = clear_of(record.headers)
        if clear is None or record.payload is None:
            return NOT_SEALED
        if clear.id not in images or record.key != clear.id.encode():
            return NO_IMAGE
        if clear.key != images[clear.id]:
            return OTHER_KEY
        key = sealed.key(clear.key)
        if key is None:
            return DARK
        return clear.id, open_correction(clear, record.payload, key).label.encode()
    except EnvelopeError as error:
        return NOT_SEALED if error.reason is Reason.UNKNOWN_VERSION else TAMPERED
