"""recognition/training_set: made of features and labels, read by whoever learns, and named by one hash.

Making replaces the whole table in one commit: a set is what the living days hold now, so that rows whose image was
purged, or whose key was destroyed, are not in the next one. Reading passes over rows that went dark since.

One table for all families that learn from uploaders' labels: a row is of each family that takes its label and admits
its image. A label is the uploader's word, and may be anything: what no family takes is counted and left out. A
correction wins over the label that an image was sent with (`resources.corrections`), also where it says that the image
is no family's. A family that brings examples of its own is read from those, and from no table.

The manifest names what was learned from: HMAC-SHA-256 under the platform secret over ids, labels and splits, ordered by
id, and the features' recipe. It may live for ever, for without the secret it says nothing of any image.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from resources.corrections import Corrections, read_corrections
from resources.following import DARK, UNREADABLE
from resources.key_protocol import Keys
from resources.lake import Lake, TableMissing
from resources.lake_commits import until_committed
from resources.lake_log import files_of
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.features import COUNT, RECIPE, FeaturesRefused, features, unpack
from transforms.names import KeyName, length_prefixed
from transforms.recognition import Example, Family, split_of
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, TRAINING_SET

UNLABELLED, NOT_TAKEN, DISTRUSTED = "no label", "label of another kind", "uploader distrusted"

_WANTED = ["id", "day", "key", "features"]
_NONE = Corrections({}, 0, {})


@dataclass(frozen=True, order=True)
class Uploader:
    """One uploader of one day, as far as names in clear say."""

    day: date
    pseudonym: str


def uploader_of(key: str) -> Uploader:
    """Whose image a data key of that name seals."""
    name = KeyName.parse(key)
    return Uploader(name.day, name.pseudonym)


@dataclass(frozen=True)
class TrainingRows:
    """A training set, opened: one entry a row, ordered by id.

    Attributes:
        skipped: rows left out of the table, by reason.
        days: of the images; empty where the rows are a family's own examples.
        keys: name of each row's data key, which says whose it is (`KeyName`); empty likewise.
        corrected: ids of rows whose label is a correction.
        corrections: correction records that were read.
        refused: those of them that were passed over, by reason.
    """

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    features: np.ndarray
    manifest: str
    skipped: Mapping[str, int]
    days: tuple[date, ...] = ()
    keys: tuple[str, ...] = ()
    corrected: frozenset[str] = frozenset()
    corrections: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)

    def of(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Features and labels of one split."""
        at = [index for index, one in enumerate(self.splits) if one == split]
        return self.features[at], [self.labels[index] for index in at]

    def counts(self) -> Counter[tuple[str, str]]:
        """Rows by (split, label)."""
        return Counter(zip(self.splits, self.labels, strict=True))


def make_training_set(
    lake: Lake,
    keys: Keys,
    families: Sequence[Family],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    distrusted: Collection[Uploader] = (),
) -> dict[str, TrainingRows]:
    """Replace the training set by what features and labels hold now.

    Args:
        families: all that there are; a row is kept that one of them learns from.
        distrusted: uploaders whose labels are left out, and counted.

    Returns:
        What each family that takes labels learns from, by its name. `skipped` is of the whole set.

    Raises:
        TransientFailure: keys or lake are away, or another writer kept being first. The old set stands.
    """
    sealed = SealedRows(keys)
    table = TrackedTable(lake, TRAINING_SET, lambda at: at.app_id)

    def attempt() -> dict[str, TrainingRows]:
        skipped: Counter[str] = Counter()
        images, corrections = _images(lake, sealed)
        left_out = pl.Series([uploader_of(key) in distrusted for key in images["key"]], dtype=pl.Boolean)
        rows = list(_labelled(images.filter(~left_out), corrections, sealed, families, now(), skipped))
        skipped += Counter({DISTRUSTED: int(left_out.sum())})
        held = {file["partition.day"] for file in files_of(table.handle)}
        days: list[date] = sorted({*held, *(row["day"] for row, _, _ in rows)})
        stored = pa.Table.from_pylist([row for row, _, _ in rows], schema=TRAINING_SET.schema)
        if days:
            table.replace_days(stored, days, {})
        secret = keys.platform_secret()
        learning = [one for one in families if one.take is not None]
        return {one.name: _of_family(one, rows, secret, skipped, corrections) for one in learning}

    return until_committed(attempt, table.refresh)


def read_training_set(lake: Lake, keys: Keys, family: Family) -> TrainingRows:
    """What a family learns from: its examples, or its rows of the training set as it stands; empty where none was made.

    Raises:
        TransientFailure: keys or lake are away.
    """
    secret = keys.platform_secret()
    if family.examples is not None:
        return _examples(family.examples(), secret)
    sealed = SealedRows(keys)
    skipped: Counter[str] = Counter()
    rows = []
    try:
        handle = lake.open(TRAINING_SET.name)
    except TableMissing:
        return _opened([], secret, skipped, _NONE)
    table = lake.collect(pl.scan_delta(handle).filter(pl.col("feature_version") == RECIPE), TRAINING_SET.name)
    for row in table.iter_rows(named=True):
        vector, label = _vector(sealed, TRAINING_SET, row), sealed.open(TRAINING_SET, row, "label")
        if vector is None or label is None:
            skipped[UNREADABLE if sealed.key(row["key"]) else DARK] += 1
        else:
            rows.append((row, label, vector))
    corrections = read_corrections(lake, sealed, dict(table.select("id", "key").iter_rows()))
    return _of_family(family, rows, secret, skipped, corrections)


def _images(lake: Lake, sealed: SealedRows) -> tuple[pl.DataFrame, Corrections]:
    """Images that have features, with the labels they were sent with, and what was put right of them."""
    measured = pl.scan_delta(lake.ensure(IMAGE_FEATURES)).filter(pl.col("feature_version") == RECIPE).select(_WANTED)
    labels = pl.scan_delta(lake.ensure(PROCESSED_IMAGES)).select("id", "key", "label", "sha256")
    with lake.named("read features and labels"):
        # By key too: an id that another record's row had taken meanwhile has features of another picture.
        images = measured.join(labels, on=["id", "key"], how="inner").collect().sort("id")
    return images, read_corrections(lake, sealed, dict(images.select("id", "key").iter_rows()))


def _labelled(
    images: pl.DataFrame,
    corrections: Corrections,
    sealed: SealedRows,
    families: Sequence[Family],
    at: datetime,
    skipped: Counter[str],
) -> Iterator[tuple[dict[str, Any], bytes, np.ndarray]]:
    """Rows of the new set, each with its label as it was given, and its vector, in the open."""
    for row in images.iter_rows(named=True):
        given = corrections.labels.get(row["id"])
        if given is None and row["label"] is None:
            skipped[UNLABELLED] += 1
            continue
        if sealed.key(row["key"]) is None:
            skipped[DARK] += 1
            continue
        given = given or sealed.open(PROCESSED_IMAGES, row, "label")
        digest = sealed.open(PROCESSED_IMAGES, row, "sha256")
        vector = _vector(sealed, IMAGE_FEATURES, row)
        if given is None or digest is None or vector is None:
            skipped[UNREADABLE] += 1
            continue
        if all(family.taken(given, vector) is None for family in families):
            skipped[NOT_TAKEN] += 1
            continue
        stored = {
            "id": row["id"],
            "day": row["day"],
            "key": row["key"],
            "split": split_of(digest),
            "feature_version": RECIPE,
            "features": sealed.seal(TRAINING_SET, row, "features", vector.astype("<f4").tobytes()),
            "label": sealed.seal(TRAINING_SET, row, "label", given),
            "made_at": at,
        }
        yield stored, given, vector


def _vector(sealed: SealedRows, spec: Any, row: Mapping[str, Any]) -> np.ndarray | None:
    stored = sealed.open(spec, row, "features")
    try:
        return None if stored is None else unpack(stored)
    except FeaturesRefused:
        return None


@dataclass(frozen=True)
class _Row:
    """One row in the open; day and key are those of its image, None where it is nobody's."""

    id: str
    split: str
    label: str
    vector: np.ndarray
    day: date | None = None
    key: str | None = None


def _of_family(
    family: Family,
    rows: Sequence[tuple[Mapping[str, Any], bytes, np.ndarray]],
    secret: bytes,
    skipped: Mapping[str, int],
    corrections: Corrections,
) -> TrainingRows:
    taken = [(row, family.taken(given, vector), vector) for row, given, vector in rows]
    kept = [
        _Row(row["id"], row["split"], label, vector, row["day"], row["key"])
        for row, label, vector in taken
        if label is not None
    ]
    return _opened(kept, secret, skipped, corrections)


def _examples(examples: Sequence[Example], secret: bytes) -> TrainingRows:
    """Pictures of a family's own, in its order."""
    rows = [_Row(f"{number:06d}", one.split, one.label, features(one.thumbnail)) for number, one in enumerate(examples)]
    return _opened(rows, secret, {}, _NONE)


def _opened(rows: Sequence[_Row], secret: bytes, skipped: Mapping[str, int], corrections: Corrections) -> TrainingRows:
    ordered = sorted(rows, key=lambda row: row.id)
    listing = [RECIPE.encode(), *(part.encode() for row in ordered for part in (row.id, row.split, row.label))]
    ids = tuple(row.id for row in ordered)
    return TrainingRows(
        ids=ids,
        splits=tuple(row.split for row in ordered),
        labels=tuple(row.label for row in ordered),
        features=np.array([row.vector for row in ordered], dtype=np.float32).reshape(len(ordered), COUNT),
        manifest=hmac.digest(secret, length_prefixed(b"manifest", *listing), "sha256").hex(),
        skipped=dict(skipped),
        days=tuple(row.day for row in ordered if row.day is not None),
        keys=tuple(row.key for row in ordered if row.key is not None),
        corrected=frozenset(corrections.labels.keys() & set(ids)),
        corrections=corrections.records,
        refused=corrections.refused,
    )
