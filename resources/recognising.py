"""The batch lane: each family's champion names every image of its kind that has features; answers are sealed rows.

It follows image_features (`resources.following`), with offsets of its own for each version of a model: a new champion
begins at the first offset, and so names the living days again; what earlier versions answered stays beside it. One row
an image id and model version. The answer is a word of the image and is sealed; the probability is in clear.

What a family does not admit (`Family.admits`) gets no row of it, and is looked at again by every run, some ten
microseconds an image: a lake of a million living images that are of another family costs each run ten seconds.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from resources.compute import Compute
from resources.failures import PermanentFailure
from resources.following import SKIPPED, UNREADABLE, Followed, Follower, Maker
from resources.key_protocol import Keys
from resources.lake import Lake
from resources.progress import featuring_of, recognising_of
from resources.registry import CHAMPION, ModelBroken, ModelMissing, Registry, Version
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.features import COUNT, RECIPE, FeaturesRefused, unpack
from transforms.onnx_models import ModelRefused, Scorer
from transforms.recognition import Family
from transforms.tables import IMAGE_FEATURES, RECOGNISED_IMAGES

LANE = "batch"
NOT_ADMITTED = "of another kind"
"""Why an image makes no row: it is none of the family's."""
COPIED = ("id", "day", "pseudonym", "key", "topic", "topic_id", "partition", "offset")


@dataclass(frozen=True)
class Recognised:
    """What one run did of one family.

    `champion` None: there is none, and nothing was scored. `named`: answers by label.
    """

    family: Family
    champion: Version | None
    followed: Followed | None
    named: Counter[str]


def recognise_all(
    lake: Lake,
    keys: Keys,
    registry: Registry,
    families: Sequence[Family],
    progress: Callable[[Family, int, int], None] | None = None,
    far: Compute | None = None,
) -> list[Recognised]:
    """Score all images of each family that its champion has not scored yet, family after family, here or on `far`.

    Raises:
        TransientFailure: MLflow, keys or lake are away. What was committed stands.
        ModelMissing, ModelBroken: a champion cannot score; raised once the other families' images are named.
    """
    done: list[Recognised] = []
    failed: list[PermanentFailure] = []
    for family in families:

        def told(n: int, total: int, family: Family = family) -> None:
            if progress is not None:
                progress(family, n, total)

        try:
            done.append(recognise(lake, keys, registry, family, progress=told, far=far))
        except (ModelMissing, ModelBroken) as failure:
            failed.append(failure)
    if failed:
        raise failed[0]
    return done


def recognise(
    lake: Lake,
    keys: Keys,
    registry: Registry,
    family: Family,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[int, int], None] | None = None,
    far: Compute | None = None,
) -> Recognised:
    """Score all images of the family that its champion has not scored yet.

    Raises:
        TransientFailure: MLflow, keys or lake are away. What was committed stands.
        ModelMissing, ModelBroken: the champion's file is gone, or cannot score this release's features.
    """
    lake.ensure(RECOGNISED_IMAGES)
    champion = registry.at(family.name, CHAMPION)
    if champion is None:
        return Recognised(family, None, None, Counter())
    model = registry.load(champion)
    _scorer(model, champion.model, champion.version)
    sealed, named = SealedRows(keys), Counter[str]()

    def count(rows: pa.Table) -> None:
        opened = (sealed.open(RECOGNISED_IMAGES, row, "label") for row in rows.to_pylist())
        named.update(label.decode() for label in opened if label is not None)

    table = TrackedTable(lake, RECOGNISED_IMAGES, recognising_of(champion.model, champion.mark))
    follower = Follower(
        lake,
        IMAGE_FEATURES,
        featuring_of,
        table,
        maker=Maker(
            functools.partial(name_images, model=model, family=family, champion=champion, at=now()),
            (*COPIED, "features"),
            RECOGNISED_IMAGES,
        ),
        current=(pl.col("model") == champion.model) & (pl.col("model_version") == champion.mark),
    )
    done = follower.follow(sealed, progress, far, count)
    return Recognised(family, champion, done, named)


def name_images(
    sealed: SealedRows, chunk: pl.DataFrame, *, model: bytes, family: Family, champion: Version, at: datetime
) -> list[dict[str, Any]]:
    """Rows of `recognition/recognised_images` from rows of `images/image_features`, their labels sealed.

    Args:
        model: the champion's ONNX file.

    Raises:
        ModelBroken: the file cannot score this release's features.
    """
    scorer = _scorer(model, champion.model, champion.version)
    opened = [(row, _vector(sealed, row)) for row in chunk.iter_rows(named=True)]
    admitted = [(row, vector) for row, vector in opened if vector is not None and family.admits(vector)]
    rows: list[dict[str, Any]] = [
        {**{name: row[name] for name in COPIED}, SKIPPED: UNREADABLE if vector is None else NOT_ADMITTED}
        for row, vector in opened
        if vector is None or not family.admits(vector)
    ]
    scores = scorer.score(np.array([vector for _, vector in admitted]).reshape(len(admitted), COUNT))
    for (row, _), label, probability in zip(admitted, scores.labels, scores.probabilities, strict=True):
        own = {
            "model": champion.model,
            "model_version": champion.mark,
            "label": sealed.seal(RECOGNISED_IMAGES, row, "label", label.encode()),
            "probability": float(probability),
            "lane": LANE,
            "scored_at": at,
        }
        rows.append({**{name: row[name] for name in COPIED}, **own})
    return rows


@functools.lru_cache(maxsize=4)
def _scorer(model: bytes, name: str, version: str) -> Scorer:
    try:
        return Scorer(model, RECIPE, COUNT)
    except ModelRefused as error:
        raise ModelBroken(
            f"The champion of {name}, version {version}, scores nothing: {error} Train anew, or "
            "`darkroom models rollback` to another version.",
            {"model": name, "version": version},
        ) from error


def _vector(sealed: SealedRows, row: dict[str, object]) -> np.ndarray | None:
    stored = sealed.open(IMAGE_FEATURES, row, "features")
    try:
        return None if stored is None else unpack(stored)
    except FeaturesRefused:
        return None
