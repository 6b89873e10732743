"""recognition/training_set: made of features and labels, read by whoever learns, and named by one hash.

Making replaces the whole table in one commit: a set is what the living days hold now, so that rows whose image was
purged, or whose key was destroyed, are not in the next one. Reading passes over rows that went dark since.

One table for all families that learn from uploaders' labels: a row is of each family that takes its label and admits
its image. A label is the uploader's word, and may be anything: what no family takes is counted and left out. A family
that brings examples of its own is read from those, and from no table.

The manifest names what was learned from: HMAC-SHA-256 under the platform secret over ids, labels and splits, ordered by
id, and the features' recipe. It may live for ever, for without the secret it says nothing of any image.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from resources.following import COMMIT_TRIES, DARK, UNREADABLE
from resources.keys import Keys
from resources.lake import CommitConflict, Lake, TableMissing
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.features import COUNT, RECIPE, FeaturesRefused, features, unpack
from transforms.names import length_prefixed
from transforms.recognition import Example, Family, split_of
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, TRAINING_SET

UNLABELLED, NOT_TAKEN = "no label", "label of another kind"

_WANTED = ["id", "day", "key", "features"]


@dataclass(frozen=True)
class TrainingRows:
    """A training set, opened: one entry a row, ordered by id. `skipped`: rows left out, by reason.

    `days` are those of the images, or empty where the rows are a family's own examples.
    """

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    features: np.ndarray
    manifest: str
    skipped: Mapping[str, int]
    days: tuple[date, ...] = ()

    def of(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Features and labels of one split."""
        at = [index for index, one in enumerate(self.splits) if one == split]
        return self.features[at], [self.labels[index] for index in at]

    def counts(self) -> Counter[tuple[str, str]]:
        """Rows by (split, label)."""
        return Counter(zip(self.splits, self.labels, strict=True))


def make_training_set(
    lake: Lake, keys: Keys, families: Sequence[Family], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dict[str, TrainingRows]:
    """Replace the training set by what features and labels hold now.

    Args:
        families: all that there are; a row is kept that one of them learns from.

    Returns:
        What each family that takes labels learns from, by its name. `skipped` is of the whole set.

    Raises:
        TransientFailure: keys or lake are away, or another writer kept being first. The old set stands.
    """
    sealed = SealedRows(keys)
    table = TrackedTable(lake, TRAINING_SET, lambda at: at.app_id)
    for attempt in range(COMMIT_TRIES):
        skipped: Counter[str] = Counter()
        rows = list(_labelled(lake, sealed, families, now(), skipped))
        held = pl.scan_delta(table.handle).select(pl.col("day").unique()).collect()["day"].to_list()
        days: list[date] = sorted({*held, *(row["day"] for row, _, _ in rows)})
        stored = pa.Table.from_pylist([row for row, _, _ in rows], schema=TRAINING_SET.schema)
        try:
            if days:
                table.replace_days(stored, days, {})
        except CommitConflict:
            if attempt == COMMIT_TRIES - 1:
                raise
            table.refresh()
        else:
            secret = keys.platform_secret()
            return {one.name: _of_family(one, rows, secret, skipped) for one in families if one.take is not None}
    raise AssertionError("unreachable: the last try returns or raises")


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
        table = pl.scan_delta(lake.open(TRAINING_SET.name)).filter(pl.col("feature_version") == RECIPE).collect()
    except TableMissing:
        return _opened([], secret, skipped)
    for row in table.iter_rows(named=True):
        vector, label = _vector(sealed, TRAINING_SET, row), sealed.open(TRAINING_SET, row, "label")
        if vector is None or label is None:
            skipped[UNREADABLE if sealed.key(row["key"]) else DARK] += 1
        else:
            rows.append((row, label, vector))
    return _of_family(family, rows, secret, skipped)


def _labelled(
    lake: Lake, sealed: SealedRows, families: Sequence[Family], at: datetime, skipped: Counter[str]
) -> Iterator[tuple[dict[str, Any], bytes, np.ndarray]]:
    """Rows of the new set, each with its label as it was given, and its vector, in the open."""
    measured = pl.scan_delta(lake.ensure(IMAGE_FEATURES)).filter(pl.col("feature_version") == RECIPE).select(_WANTED)
    labels = pl.scan_delta(lake.ensure(PROCESSED_IMAGES)).select("id", "key", "label", "sha256")
    # By key too: an id that another record's row had taken meanwhile has features of another picture.
    for row in measured.join(labels, on=["id", "key"], how="inner").collect().sort("id").iter_rows(named=True):
        if row["label"] is None:
            skipped[UNLABELLED] += 1
            continue
        if sealed.key(row["key"]) is None:
            skipped[DARK] += 1
            continue
        given, digest = (sealed.open(PROCESSED_IMAGES, row, column) for column in ("label", "sha256"))
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


def _of_family(
    family: Family,
    rows: Sequence[tuple[Mapping[str, Any], bytes, np.ndarray]],
    secret: bytes,
    skipped: Mapping[str, int],
) -> TrainingRows:
    taken = [(row, family.taken(given, vector), vector) for row, given, vector in rows]
    kept = [(row["id"], row["split"], label, vector, row["day"]) for row, label, vector in taken if label is not None]
    return _opened(kept, secret, skipped)


def _examples(examples: Sequence[Example], secret: bytes) -> TrainingRows:
    """Pictures of a family's own, in its order; they are nobody's, and so have no day."""
    rows = [
        (f"{number:06d}", one.split, one.label, features(one.thumbnail), None) for number, one in enumerate(examples)
    ]
    return _opened(rows, secret, {})


def _opened(
    rows: Sequence[tuple[str, str, str, np.ndarray, date | None]], secret: bytes, skipped: Mapping[str, int]
) -> TrainingRows:
    ordered = sorted(rows, key=lambda row: row[0])
    listing = [RECIPE.encode(), *(part.encode() for row in ordered for part in row[:3])]
    return TrainingRows(
        ids=tuple(row[0] for row in ordered),
        splits=tuple(row[1] for row in ordered),
        labels=tuple(row[2] for row in ordered),
        features=np.array([row[3] for row in ordered], dtype=np.float32).reshape(len(ordered), COUNT),
        manifest=hmac.digest(secret, length_prefixed(b"manifest", *listing), "sha256").hex(),
        skipped=dict(skipped),
        days=tuple(row[4] for row in ordered if row[4] is not None),
    )
