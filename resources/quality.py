"""How the champions do on the living days: read from tables, keys and registry, and kept as one row a day and model.

Accuracy is of the champion as it is now, on labelled images that none was learned from, day by day. Drift compares the
newest day with what was learned from: with the training split of the other days where those are enough, else of all
days; and for a family that brings its own pictures with the days before. Days that were purged keep their rows.

A label is the uploader's word; a correction of it counts at once, also where it came after the training set was made.
Accuracy on corrected labels is told besides: it is what people looked at.

Limits: of each side of a comparison `SAMPLE` images are opened, the first by id, which is a random choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import polars as pl
import pyarrow as pa

from resources.corrections import read_corrections
from resources.key_protocol import Keys
from resources.lake import Lake
from resources.registry import CHAMPION, ModelBroken, ModelMissing, Registry, Version
from resources.sealed_rows import SealedRows
from resources.training_set import TrainingRows, read_training_set
from transforms.drift import FEWEST_ROWS, Drift, drift
from transforms.features import COUNT, RECIPE, FeaturesRefused, unpack
from transforms.onnx_models import ModelRefused, Scorer
from transforms.quality import Tally, held_out, tallies
from transforms.recognition import SPLITS, Family
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RECOGNISED_IMAGES, RECOGNITION_QUALITY

SAMPLE = 5000
NO_LABELS = Tally(0, 0)
WRITER = "recognition_quality-writer"


@dataclass(frozen=True)
class Quality:
    """One family's champion on the living days.

    Attributes:
        champion: None where there is none, or one that cannot score; then nothing but `balance` is told.
        accuracy: labelled images not learned from, by day.
        corrected: of these, images whose label was put right, all days together.
        day: the newest, which drift is of.
        drift: None where either side has too few images.
        named: images that the champion named, by day.
        balance: labelled images by label, all splits.
    """

    family: Family
    champion: Version | None
    accuracy: Mapping[date, Tally] = field(default_factory=dict)
    corrected: Tally = NO_LABELS
    day: date | None = None
    drift: Drift | None = None
    named: Mapping[date, int] = field(default_factory=dict)
    balance: Mapping[str, int] = field(default_factory=dict)


def measure(lake: Lake, keys: Keys, registry: Registry, family: Family) -> Quality:
    """Look at one family.

    Raises:
        TransientFailure: MLflow, keys or lake are away.
    """
    rows, sealed = read_training_set(lake, keys, family), SealedRows(keys)
    words = read_corrections(lake, sealed, dict(zip(rows.ids, rows.keys, strict=True))).labels if rows.keys else {}
    labels = [
        family.taken(words[id], vector) if id in words else label
        for id, label, vector in zip(rows.ids, rows.labels, rows.features, strict=True)
    ]
    balance = Counter(label for label in labels if label is not None) if rows.days else Counter()
    champion = registry.at(family.name, CHAMPION)
    scorer = None if champion is None else _scorer(registry, champion)
    if champion is None or scorer is None:
        return Quality(family, None, balance=balance)
    at = [one for one in held_out(rows.splits, rows.days) if labels[one] is not None]
    truths, answers = [labels[one] or "" for one in at], scorer.score(rows.features[at]).labels
    named = [truth == answer for truth, answer in zip(truths, answers, strict=True)]
    looked_at = [right for one, right in zip(at, named, strict=True) if rows.ids[one] in words]
    day, before, now = _sides(lake, sealed, family, rows)
    return Quality(
        family,
        champion,
        accuracy=tallies([rows.days[one] for one in at], truths, answers),
        corrected=Tally(len(looked_at), sum(looked_at)),
        day=day,
        drift=drift(before, now),
        named=_named(lake, champion),
        balance=balance,
    )


def keep(lake: Lake, measured: Sequence[Quality], now: datetime) -> int:
    """Put what was measured in the place of the living days' rows; returns how many rows those days have.

    Raises:
        CommitConflict: another writer was first; running again measures again.
    """
    handle = lake.ensure(RECOGNITION_QUALITY)
    writer = lake.identifier(handle, WRITER) or 0
    developed = {day: (count, near) for day, count, near in _developed(lake).iter_rows()}
    if not developed:
        return 0
    held = lake.collect(pl.scan_delta(handle).filter(pl.col("day").is_in(list(developed))), RECOGNITION_QUALITY.name)
    drifted = {(day, model): index for day, model, index in held.select("day", "model", "drift").iter_rows()}
    rows = []
    for one in measured:
        if one.champion is None:
            continue
        for day, (count, near) in sorted(developed.items()):
            tally = one.accuracy.get(day, Tally(0, 0))
            # What was the last day once keeps what was measured then.
            index = one.drift.index if one.drift and day == one.day else drifted.get((day, one.family.name))
            rows.append(
                {
                    "day": day,
                    "model": one.family.name,
                    "model_version": one.champion.mark,
                    "named": one.named.get(day, 0),
                    "labelled": tally.labelled,
                    "labelled_right": tally.right,
                    "drift": index,
                    "developed": count,
                    "near_duplicates": near,
                    "computed_at": now,
                }
            )
    models = {row["model"] for row in rows}
    rows += held.filter(~pl.col("model").is_in(list(models))).to_dicts()
    table = pa.Table.from_pylist(rows, schema=RECOGNITION_QUALITY.schema)
    lake.replace_days(handle, RECOGNITION_QUALITY, table, sorted(developed), {WRITER: writer + 1})
    return len(rows)


def _scorer(registry: Registry, champion: Version) -> Scorer | None:
    try:
        return Scorer(registry.load(champion), RECIPE, COUNT)
    except (ModelMissing, ModelBroken, ModelRefused):
        return None


def _sides(
    lake: Lake, sealed: SealedRows, family: Family, rows: TrainingRows
) -> tuple[date | None, np.ndarray, np.ndarray]:
    """The newest day, what it is compared with, and its own vectors."""
    table = pl.scan_delta(lake.ensure(IMAGE_FEATURES)).filter(pl.col("feature_version") == RECIPE)
    day = lake.collect(table.select(pl.col("day").max()), IMAGE_FEATURES.name).item()
    if day is None:
        return None, np.empty((0, COUNT)), np.empty((0, COUNT))
    now = _vectors(lake, sealed, family, table.filter(pl.col("day") == day))
    if family.take is None:
        return day, _vectors(lake, sealed, family, table.filter(pl.col("day") < day)), now
    learned = [at for at, split in enumerate(rows.splits) if split == SPLITS[0]]
    earlier = [at for at in learned if rows.days[at] != day]
    return day, rows.features[earlier if len(earlier) >= FEWEST_ROWS else learned][:SAMPLE], now


def _vectors(lake: Lake, sealed: SealedRows, family: Family, table: pl.LazyFrame) -> np.ndarray:
    """Vectors of the images that a family admits, of `SAMPLE` images at most."""
    found = []
    sample = table.select("id", "key", "features").bottom_k(SAMPLE, by="id")
    for row in lake.collect(sample, IMAGE_FEATURES.name).iter_rows(named=True):
        stored = sealed.open(IMAGE_FEATURES, row, "features")
        try:
            vector = None if stored is None else unpack(stored)
        except FeaturesRefused:
            vector = None
        if vector is not None and family.admits(vector):
            found.append(vector)
    return np.array(found, dtype=np.float32).reshape(len(found), COUNT)


def _named(lake: Lake, champion: Version) -> dict[date, int]:
    of_it = (pl.col("model") == champion.model) & (pl.col("model_version") == champion.mark)
    named = pl.scan_delta(lake.ensure(RECOGNISED_IMAGES)).filter(of_it).group_by("day").agg(pl.len())
    return dict(lake.collect(named, RECOGNISED_IMAGES.name).iter_rows())


def _developed(lake: Lake) -> pl.DataFrame:
    """Day, images developed, and those of them that look like an earlier one."""
    table = pl.scan_delta(lake.ensure(PROCESSED_IMAGES))
    near = pl.col("near_duplicate_of").is_not_null().sum().cast(pl.Int64)
    counted = table.group_by("day").agg(pl.len().cast(pl.Int64), near).sort("day")
    return lake.collect(counted, PROCESSED_IMAGES.name)
