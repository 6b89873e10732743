"""The batch lane: each family's champion names every image of its kind that has features; answers are sealed rows.

It follows image_features (`resources.following`), with offsets of its own for each version of a model: a new champion
begins at the first offset, and so names the living days again; what earlier versions answered stays beside it. One row
an image id and model version. The answer is a word of the image and is sealed; the probability is in clear.

What a family does not admit (`Family.admits`) gets no row of it, and is looked at again by every run, some ten
microseconds an image: a lake of a million living images that are of another family costs each run ten seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa

from resources.failures import PermanentFailure
from resources.following import UNREADABLE, Followed, Follower, Made
from resources.keys import Keys
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
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[Family, int, int], None] | None = None,
) -> list[Recognised]:
    """Score all images of each family that its champion has not scored yet, one family after the other.

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
            done.append(recognise(lake, keys, registry, family, now, told))
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
    done = follower.follow(sealed, lambda chunk: _made(sealed, scorer, family, champion, chunk, now(), named), progress)
    return Recognised(family, champion, done, named)


def _made(
    sealed: SealedRows,
    scorer: Scorer,
    family: Family,
    champion: Version,
    chunk: pl.DataFrame,
    at: datetime,
    named: Counter[str],
) -> Made:
    opened = [(row, _vector(sealed, row)) for row in chunk.iter_rows(named=True)]
    readable = [(row, vector) for row, vector in opened if vector is not None]
    admitted = [(row, vector) for row, vector in readable if family.admits(vector)]
    scores = scorer.score(np.array([vector for _, vector in admitted]).reshape(len(admitted), COUNT))
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
        for (row, _), label, probability in zip(admitted, scores.labels, scores.probabilities, strict=True)
    ]
    named.update(scores.labels)
    skipped = Counter({UNREADABLE: len(opened) - len(readable), NOT_ADMITTED: len(readable) - len(admitted)})
    return Made(pa.Table.from_pylist(rows, schema=RECOGNISED_IMAGES.schema), +skipped)


def _vector(sealed: SealedRows, row: dict[str, object]) -> np.ndarray | None:
    stored = sealed.open(IMAGE_FEATURES, row, "features")
    try:
        return None if stored is None else unpack(stored)
    except FeaturesRefused:
        return None
