"""The two tables that developing writes, as one writer sees them: what they hold already, and how far they have come.

Exactly once rests on three things. Of two writers that looked at the same state one conflicts
(`resources.tracked_table`); it then opens both tables again and looks again. Rows have keys: an id stands once in
processed_images, over all days; a (topic id, partition, offset) once in quarantined_images. And quarantine is committed
before processed, so that the offsets of processed_images never run ahead of a row that quarantine lacks.

An unsealed record may carry any id in its header, another image's too. Where a sealed image finds its id taken by such
a row, that row goes and the sealed image stands: what a door accepted is never lost to what anyone could write.

Memory: 8 bytes an image for all ids, and about 100 bytes an image for the days at hand. Ids are looked up by a 64-bit
hash first; a hit is confirmed in the table, for a hash alone may not decide that an image is already there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import polars as pl

from resources.developed_rows import Bad, Good, processed_table, quarantined_table
from resources.lake import Lake
from resources.progress import developing_of
from resources.tracked_table import TrackedTable
from transforms.landing_protocol import Position
from transforms.near_duplicates import comparable, first_matches, hash_bits
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

Place = tuple[str, int, int]


@dataclass
class _Looks:
    """Hashes of a day's comparable images, the earliest first, and whose they are."""

    hashes: list[np.ndarray] = field(default_factory=lambda: [np.empty(0, dtype=np.uint64)])
    ids: list[str] = field(default_factory=list)

    def all(self) -> np.ndarray:
        if len(self.hashes) > 1:
            self.hashes = [np.concatenate(self.hashes)]
        return self.hashes[0]


class DerivedTables:
    """Handles on processed_images and quarantined_images, made where they are not there.

    Raises (every method): TransientFailure where the lake is away or another writer was first (`CommitConflict`);
    after a conflict call `refresh` and try again.
    """

    def __init__(self, lake: Lake) -> None:
        self._processed = TrackedTable(lake, PROCESSED_IMAGES, developing_of)
        self._quarantined = TrackedTable(lake, QUARANTINED_IMAGES, developing_of)
        self._learn()

    @property
    def commits(self) -> int:
        """Commits made here, to both tables."""
        return self._processed.commits + self._quarantined.commits

    def refresh(self) -> None:
        """Open both tables as they are now and forget what was known of them."""
        self._processed.refresh()
        self._quarantined.refresh()
        self._learn()

    def _learn(self) -> None:
        hashes = self._processed.collect(pl.scan_delta(self._processed.handle).select(pl.col("id").hash(seed=0)))["id"]
        self._hashes = np.unique(hashes.to_numpy())
        self._own: dict[str, bool] = {}  # ids committed here, and whether they came sealed
        self._looks: dict[date, _Looks] = {}

    def positions(self, at: Collection[Position]) -> dict[Position, int]:
        """The last offset developed of each, by the slower of the two tables; -1 for none."""
        return {one: min(self._processed.last(one), self._quarantined.last(one)) for one in at}

    def processed_position(self, at: Position) -> int:
        """The last offset whose commit to processed_images stands: all before it are in one of the tables."""
        return self._processed.last(at)

    def quarantined_position(self, at: Position) -> int:
        """The last offset up to which bad records are known to be in quarantine; -1 for none."""
        return self._quarantined.last(at)

    def maybe_processed(self, id: str) -> bool:
        """Whether the id may be in processed_images: no is certain, yes wants `confirm_processed`."""
        if id in self._own:
            return True
        if not len(self._hashes):
            return False
        value = np.uint64(pl.Series([id]).hash(seed=0)[0])
        at = int(np.searchsorted(self._hashes, value))
        return at < len(self._hashes) and bool(self._hashes[at] == value)

    def confirm_processed(self, ids: Iterable[str], *, sealed: bool = False) -> set[str]:
        """Those of the ids that are in processed_images, looked up in the table itself; with `sealed`, only those
        whose row is of an image that came sealed."""
        wanted = {id for id in ids if self.maybe_processed(id)}
        found = {id for id in wanted if id in self._own and (self._own[id] or not sealed)}
        if rest := sorted(wanted - self._own.keys()):
            rows = pl.scan_delta(self._processed.handle).filter(pl.col("id").is_in(rest)).select("id", "via")
            found |= {id for id, via in self._processed.collect(rows).iter_rows() if via is not None or not sealed}
        return found

    def quarantined_among(self, places: Collection[Place]) -> set[Place]:
        """Those of the places (topic id, partition, offset) that are in quarantine."""
        return places_among(self._quarantined, places)

    def processed_among(self, places: Collection[Place]) -> set[Place]:
        """Those of the places (topic id, partition, offset) whose records made a row of processed_images."""
        return places_among(self._processed, places)

    def add_quarantined(self, refused: Sequence[Bad], positions: Mapping[Position, int], at: datetime) -> list[Bad]:
        """Commit those refused records that are in neither table yet, and the offsets; returns the records committed.

        A record that another developer has made an image of stays one: it was refused here for what passes, such as
        too little time. Nothing is committed where there is nothing new.
        """
        places = [one.place for one in refused]
        known = self.quarantined_among(places) | self.processed_among(places)
        fresh: dict[Place, Bad] = {}
        for one in refused:
            if one.place not in known:
                fresh.setdefault(one.place, one)
        self._quarantined.append(quarantined_table(list(fresh.values()), at), positions)
        return list(fresh.values())

    def add_processed(self, good: Sequence[Good], positions: Mapping[Position, int], at: datetime) -> list[Good]:
        """Commit those images whose id is not in processed_images yet, and the offsets; returns the images
        committed."""
        taken = self.confirm_processed(one.id for one in good)
        by_sealed = self.confirm_processed((one.id for one in good), sealed=True)
        fresh: dict[str, Good] = {}
        for one in sorted(good, key=lambda one: not one.sealed):
            if one.id not in (by_sealed if one.sealed else taken):
                fresh.setdefault(one.id, one)
        rows = sorted(fresh.values(), key=_order)
        self._evict(fresh.keys() & taken)
        if not self._processed.append(processed_table(rows, self._near(rows), at), positions):
            return []
        self._own.update((id, one.sealed) for id, one in fresh.items())
        self._remember(rows)
        return rows

    def remove_quarantined(self, places: Collection[Place]) -> int:
        """Take rows out of quarantine, after their images were committed to processed_images; returns how many."""
        present = self.quarantined_among(places)
        groups: dict[tuple[str, int], list[int]] = {}
        for topic_id, partition, offset in sorted(present):
            groups.setdefault((topic_id, partition), []).append(offset)
        for (topic_id, partition), offsets in groups.items():
            listed = ", ".join(map(str, offsets))
            # Values from the table itself: a topic id is 22 characters of A-Za-z0-9_-, the others are integers.
            self._quarantined.delete(f"topic_id = '{topic_id}' AND partition = {partition} AND offset IN ({listed})")
        return len(present)

    def _evict(self, ids: Collection[str]) -> None:
        """Remove rows of unsealed images whose ids are a sealed image's. Killed after it, a run finds the sealed ones
        still to be written, for no offset has moved."""
        if not ids:
            return
        # Ids have the form of ids: 26 characters of a-z2-7.
        listed = ", ".join(f"'{id}'" for id in sorted(ids))
        self._processed.delete(f"via IS NULL AND id IN ({listed})")
        self._looks = {}

    def _near(self, rows: Sequence[Good]) -> list[str | None]:
        """For each row the id of the earliest image of its day that looks the same: known ones first, then these."""
        near: list[str | None] = [None] * len(rows)
        by_day: dict[date, list[int]] = {}
        for index, row in enumerate(rows):
            if _comparable(row):
                by_day.setdefault(row.row["day"], []).append(index)
        for day, indices in by_day.items():
            looks = self._looks_of(day)
            new = np.array([hash_bits(rows[index].row["perceptual_hash"]) for index in indices], dtype=np.uint64)
            ids = [rows[index].id for index in indices]
            for index, match in zip(indices, first_matches(new, looks.all()), strict=True):
                if match >= 0:
                    near[index] = looks.ids[match] if match < len(looks.ids) else ids[match - len(looks.ids)]
        return near

    def _looks_of(self, day: date) -> _Looks:
        if day not in self._looks:
            look = ("id", "perceptual_hash", "width", "height", "sharpness")
            order = ("appended_at", "topic", "partition", "offset")
            of_day = pl.scan_delta(self._processed.handle).filter(pl.col("day") == day).select(*look, *order)
            table = self._processed.collect(of_day).sort(order)
            kept = [
                (id, hash_bits(text))
                for id, text, width, height, sharpness in table.select(look).iter_rows()
                if comparable(width, height, sharpness)
            ]
            self._looks[day] = _Looks([np.array([bits for _, bits in kept], dtype=np.uint64)], [id for id, _ in kept])
        return self._looks[day]

    def _remember(self, rows: Sequence[Good]) -> None:
        for row in rows:
            looks = self._looks.get(row.row["day"])
            if looks is not None and _comparable(row):
                looks.hashes.append(np.array([hash_bits(row.row["perceptual_hash"])], dtype=np.uint64))
                looks.ids.append(row.id)


def places_among(table: TrackedTable, places: Collection[Place]) -> set[Place]:
    """Those of the places (topic id, partition, offset) that a table has a row of."""
    if not places:
        return set()
    offsets = [offset for _, _, offset in places]
    near = pl.scan_delta(table.handle).filter(
        pl.col("topic_id").is_in(sorted({topic_id for topic_id, _, _ in places})),
        pl.col("partition").is_in(sorted({partition for _, partition, _ in places})),
        pl.col("offset").is_between(min(offsets), max(offsets)),
    )
    return set(table.collect(near.select("topic_id", "partition", "offset")).iter_rows()) & set(places)


def _comparable(row: Good) -> bool:
    return comparable(row.row["width"], row.row["height"], row.row["sharpness"])


def _order(row: Good) -> tuple[datetime, str, int, int]:
    return row.row["appended_at"], row.row["topic"], row.row["partition"], row.row["offset"]
