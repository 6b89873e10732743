"""The batch lane: the champion names every image that has features, and its answers are sealed rows.

It follows image_features (`resources.following`), with offsets of its own for each version of a model: a new champion
begins at the first offset, and so names the living days again; what earlier versions answered stays beside it. One row
an image id and model version. The answer is a word of the image and is sealed; the probability is in clear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa

from resources.following import UNREADABLE, Followed, Follower, Made
from resources.keys import Keys
from resources.lake import Lake
from resources.progress import featuring_of, recognising_of
from resources.registry import CHAMPION, ModelBroken, Registry, Version
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.features import COUNT, RECIPE, FeaturesRefused, unpack
from transforms.onnx_models import ModelRefused, Scorer
from transforms.recognition import Family
from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES

LANE = "batch"
COPIED = ("id", "day", "pseudonym", "key", "topic", "topic_id", "partition", "offset")


@dataclass(frozen=True)
class Recognised:
    """What one run did. `champion` None: there is none, and nothing was scored. `named`: answers by label."""

    champion: Version | None
    followed: Followed | None
    named: Counter[str]


def recognise(
    lake: Lake,
    keys: Keys,
    registry: Registry,
    family: Family,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[int, int], None] | None = None,
) -> Recognised:
    """Score all images that the champion has not scored yet.

    Raises:
        TransientFailure: MLflow, keys or lake are away. What was committed stands.
        ModelMissing, ModelBroken: the champion's file is gone, or cannot score this release's features.
    """
    lake.ensure(RECOGNISED_IMAGES)
    champion = registry.at(family.name, CHAMPION)
    if champion is None:
        return Recognised(None, None, Counter())
    try:
        scorer = Scorer(registry.load(champion), RECIPE, COUNT)
    except ModelRefused as error:
        raise ModelBroken(
            f"The champion of {family.name}, version {champion.version}, scores nothing: {error} Train anew, or "
            "`darkroom models rollback` to another version.",
            {"model": champion.model, "version": champion.version},
        ) from error
    sealed, named = SealedRows(keys), Counter[str]()
    table = TrackedTable(lake, RECOGNISED_IMAGES, recognising_of(champion.model, champion.mark))
    follower = Follower(
        lake,
        IMAGE_FEATURES,
        featuring_of,
        table,
        columns=[*COPIED, "features"],
        current=(pl.col("model") == champion.model) & (pl.col("model_version") == champion.mark),
    )
    done = follower.follow(sealed, lambda chunk: _made(sealed, scorer, champion, chunk, now(), named), progress)
    return Recognised(champion, done, named)


def _made(
    sealed: SealedRows, scorer: Scorer, champion: Version, chunk: pl.DataFrame, at: datetime, named: Counter[str]
) -> Made:
    opened = [(row, _vector(sealed, row)) for row in chunk.iter_rows(named=True)]
    readable = [(row, vector) for row, vector in opened if vector is not None]
    scores = scorer.score(np.array([vector for _, vector in readable]).reshape(len(readable), COUNT))
    rows = [
        {
            **{name: row[name] for name in COPIED},
            "model": champion.model,
            "model_version": champion.mark,
            "label": sealed.seal(RECOGNISED_IMAGES, row, "label", label.encode()),
            "probability": float(probability),
            "lane": LANE,
            "scored_at": at,
        }
        for (row, _), label, probability in zip(readable, scores.labels, scores.probabilities, strict=True)
    ]
    named.update(scores.labels)
    skipped = Counter({UNREADABLE: len(opened) - len(readable)})
    return Made(pa.Table.from_pylist(rows, schema=RECOGNISED_IMAGES.schema), +skipped)


def _vector(sealed: SealedRows, row: dict[str, object]) -> np.ndarray | None:
    stored = sealed.open(IMAGE_FEATURES, row, "features")
    try:
        return None if stored is None else unpack(stored)
    except FeaturesRefused:
        return None
