"""Developing as a function of batches: bronze rows in, sealed rows of either derived table out.

What it gives for a record is one row of two columns: `good`, a row of processed_images, or `refused`, one of
quarantined_images; times of commits and near duplicates are filled in by whoever commits. No id is known where it runs,
so that a resend is developed once more and dropped at the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import pyarrow as pa

from resources.compute import BatchFunction, Tools, nullable, without
from resources.developed_rows import Bad, Good
from resources.judging import Judged, NoIds, judge
from resources.opening import Opener
from resources.records import COLUMNS, records_of
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

RESULT = pa.schema(
    [
        pa.field("good", pa.struct(nullable(without(PROCESSED_IMAGES.schema, ("near_duplicate_of", "processed_at"))))),
        pa.field("refused", pa.struct(nullable(without(QUARANTINED_IMAGES.schema, ("quarantined_at",))))),
    ]
)


def run(tools: Tools, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Develop batches of bronze.

    Raises:
        TransientFailure: keys or decoding processes are away; nothing was judged.
    """
    for batch in batches:
        judged = judge(records_of(batch), Opener(tools.settings, tools.keys), tools.pool, NoIds(), defaultdict(float))
        rows = [{"good": dict(one.row), "refused": None} for one in judged.good]
        rows += [{"good": None, "refused": dict(one.row)} for one in judged.refused]
        yield from pa.Table.from_pylist(rows, schema=RESULT).to_batches()


DEVELOP = BatchFunction(COLUMNS, RESULT, run)


def judged_of(batches: Iterable[pa.RecordBatch]) -> Judged:
    """The verdicts in batches that the function gave."""
    judged = Judged()
    for batch in batches:
        judged.good += [Good(row) for row in batch.column("good").to_pylist() if row is not None]
        judged.refused += [Bad(row) for row in batch.column("refused").to_pylist() if row is not None]
    return judged
