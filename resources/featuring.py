"""Fills images/image_features: the vector of every developed image, taken from its thumbnail and sealed again.

It follows processed_images (`resources.following`). The thumbnail is opened under the image's data key, measured
(`transforms.features`), and only the vector is kept, sealed under the same key for its own table and column: who
learns opens features and labels, and never sees a picture. A changed recipe computes every vector anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from resources.compute import Compute
from resources.following import SKIPPED, UNREADABLE, Followed, Follower, Maker
from resources.key_protocol import Keys
from resources.lake import Lake
from resources.progress import developing_of, featuring_of
from resources.sealed_rows import SealedRows
from resources.tracked_table import TrackedTable
from transforms.features import RECIPE, FeaturesRefused, features, pack
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES

COPIED = ("id", "day", "pseudonym", "key", "appended_at", "topic", "topic_id", "partition", "offset")


def compute_features(
    lake: Lake,
    keys: Keys,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Callable[[int, int], None] | None = None,
    far: Compute | None = None,
) -> Followed:
    """Compute the features of all developed images that have none of this recipe, here or on the backend `far`.

    Raises:
        TransientFailure: keys or lake are away. What was committed stands; running again goes on from there.
    """
    follower = Follower(
        lake,
        PROCESSED_IMAGES,
        developing_of,
        TrackedTable(lake, IMAGE_FEATURES, featuring_of),
        maker=Maker(functools.partial(measure, at=now()), (*COPIED, "thumbnail"), IMAGE_FEATURES),
        current=pl.col("feature_version") == RECIPE,
        outdated=pl.col("feature_version") != RECIPE,
    )
    return follower.follow(SealedRows(keys), progress, far)


def measure(sealed: SealedRows, chunk: pl.DataFrame, at: datetime) -> list[dict[str, Any]]:
    """Rows of `images/image_features` from rows of `images/processed_images`, their vectors sealed again."""
    rows: list[dict[str, Any]] = []
    for row in chunk.iter_rows(named=True):
        copied = {name: row[name] for name in COPIED}
        thumbnail = sealed.open(PROCESSED_IMAGES, row, "thumbnail")
        try:
            vector = None if thumbnail is None else features(thumbnail)
        except FeaturesRefused:
            vector = None
        if vector is None:
            rows.append({**copied, SKIPPED: UNREADABLE})
            continue
        own = {
            "feature_version": RECIPE,
            "features": sealed.seal(IMAGE_FEATURES, row, "features", pack(vector)),
            "computed_at": at,
        }
        rows.append({**copied, **own})
    return rows
