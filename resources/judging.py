"""What becomes of each record of a chunk: an image, a reason, or nothing new.

Opening and decoding run interleaved: a record is opened when a decoding process wants work, and its plain image is
let go as soon as it was handed over, so that only a few images at a time are in memory twice. An image whose id is in
processed_images already is a resend: it is opened (its place in the stream must be authentic to count as one) and not
decoded. For a sealed image only a sealed one's row counts: an unsealed record may carry any id in its header.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from resources.developed_rows import Bad, Good, Resent, bad_row, good_row
from resources.opening import Opened, Opener, Refused
from resources.records import Record
from transforms.images import Developed, Rejected


class Decoder(Protocol):
    """What developing asks of compute; `resources.decoding.DecodePool` is it."""

    def map(self, images: Iterable[bytes | memoryview]) -> Iterator[Developed | Rejected]:
        """A verdict for each image, in order."""
        ...


class KnownIds(Protocol):
    """Which ids have a row already; `resources.derived_tables.DerivedTables` knows."""

    def maybe_processed(self, id: str) -> bool:
        """No is certain; yes wants confirming."""
        ...

    def confirm_processed(self, ids: Iterable[str], *, sealed: bool = False) -> set[str]:
        """Those of the ids that have a row; with `sealed`, a row of an image that came sealed."""
        ...


class NoIds:
    """Knows no id: every image is decoded."""

    def maybe_processed(self, id: str) -> bool:
        """No."""
        return False

    def confirm_processed(self, ids: Iterable[str], *, sealed: bool = False) -> set[str]:
        """None of them."""
        return set()


@dataclass
class Judged:
    """Verdicts of a chunk, as rows. `resent`: records whose image has a row already."""

    good: list[Good] = field(default_factory=list)
    refused: list[Bad] = field(default_factory=list)
    resent: list[Resent] = field(default_factory=list)


def judge(
    records: Iterable[Record],
    opener: Opener,
    pool: Decoder,
    known: KnownIds,
    seconds: defaultdict[str, float],
) -> Judged:
    """Open and decode records; the time it took is added to `seconds` under `open` and `decode`.

    Raises:
        TransientFailure: keys or decoding processes are away; nothing was judged.
    """
    judged = Judged()
    suspects: list[Opened] = []
    _decode(records, opener, pool, judged, lambda id: known.maybe_processed(id), suspects, seconds)
    of_sealed = known.confirm_processed((one.id for one in suspects if one.sealed), sealed=True)
    of_plain = known.confirm_processed(one.id for one in suspects if not one.sealed)
    mistaken = []
    for one in suspects:
        if one.id in (of_sealed if one.sealed else of_plain):
            judged.resent.append(Resent(one.id, one.key.name, one.pseudonym, one.sealed))
        else:
            mistaken.append(one.record)
    if mistaken:
        _decode(mistaken, opener, pool, judged, lambda id: False, [], seconds)
    return judged


def _decode(
    records: Iterable[Record],
    opener: Opener,
    pool: Decoder,
    judged: Judged,
    is_known: Callable[[str], bool],
    suspects: list[Opened],
    seconds: defaultdict[str, float],
) -> None:
    under_way: deque[Opened] = deque()
    opening = 0.0

    def images() -> Iterator[bytes | memoryview]:
        nonlocal opening
        for record in records:
            began = time.perf_counter()
            result = opener.open(record)
            opening += time.perf_counter() - began
            if isinstance(result, Refused):
                judged.refused.append(bad_row(result))
            elif is_known(result.id):
                suspects.append(replace(result, image=b""))
            else:
                under_way.append(replace(result, image=b""))
                yield result.image

    began = time.perf_counter()
    for verdict in pool.map(images()):
        opened = under_way.popleft()
        if isinstance(verdict, Developed):
            judged.good.append(good_row(opened, verdict))
        else:
            believed = (opened.groups, opened.key.name) if opened.sealed else (None, None)
            refused = Refused(opened.record, verdict.reason, verdict.detail, opened.id, opened.pseudonym, *believed)
            judged.refused.append(bad_row(refused))
    seconds["open"] += opening
    seconds["decode"] += time.perf_counter() - began - opening
