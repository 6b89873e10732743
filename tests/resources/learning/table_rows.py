"""Developed images written by hand: rows of processed_images and image_features, sealed as developing seals them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from resources.keys import KeyStore
from resources.lake import Lake
from resources.progress import develop_app_id, featuring_of
from resources.sealed_rows import SealedRows
from tests.resources.developing.bronze_rows import DAY, NOW, TOPIC, TOPIC_ID
from transforms.features import RECIPE, features, pack
from transforms.landing_protocol import Position
from transforms.names import image_id, pseudonym
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, TableSpec


class Developed:
    """Writes images that have been developed and measured, a commit a call, without a picture ever being decoded."""

    def __init__(self, lake: Lake, keys: KeyStore) -> None:
        self._lake = lake
        self._keys = keys
        self._offset = -1

    def put(self, pixels: np.ndarray, labels: Sequence[str | None], uploader: str, day: date = DAY) -> str:
        """Images of 8 x 8 grey levels, one a label; returns the uploader's pseudonym."""
        secret = self._keys.platform_secret()
        name = pseudonym(secret, uploader, day)
        key = self._keys.current_key(day, name)
        sealed = SealedRows(self._keys)
        images, measured = [], []
        for levels, label in zip(pixels, labels, strict=True):
            self._offset += 1
            content = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
            digest = hashlib.sha256(content.tobytes()).digest()
            stream = io.BytesIO()
            Image.fromarray(content).save(stream, "WEBP", quality=75, method=0)
            vector = pack(features(stream.getvalue()))
            row = {"id": image_id(secret, uploader, digest, day), "day": day, "pseudonym": name, "key": key.name}
            row |= {"topic": TOPIC, "topic_id": TOPIC_ID, "partition": 0, "offset": self._offset, "appended_at": NOW}
            words = {"sha256": digest, "uploader": uploader.encode(), "label": label.encode() if label else None}
            of_image = {
                column: None if value is None else sealed.seal(PROCESSED_IMAGES, row, column, value)
                for column, value in words.items()
            }
            images.append(_filled(PROCESSED_IMAGES, row | of_image | {"format": "PNG"}))
            of_vector = {"feature_version": RECIPE, "features": sealed.seal(IMAGE_FEATURES, row, "features", vector)}
            measured.append(_filled(IMAGE_FEATURES, row | of_vector))
        at = Position(TOPIC, 0, TOPIC_ID)
        for spec, rows, app_id in (
            (PROCESSED_IMAGES, images, develop_app_id(TOPIC, 0, TOPIC_ID)),
            (IMAGE_FEATURES, measured, featuring_of(at)),
        ):
            table = pa.Table.from_pylist(rows, schema=spec.schema)
            self._lake.append(self._lake.ensure(spec), spec, table, {app_id: self._offset})
        return name


def digits() -> tuple[np.ndarray, list[str]]:
    """scikit-learn's 1,797 digits as 8 x 8 grey levels of 0 to 255, and what they are."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.images * (255 / 16), [str(one) for one in found.target]


def copies(pixels: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """So many of the pictures, each with noise of its own that changes nothing for a reader; and which each is."""
    random = np.random.default_rng(seed)
    which = np.arange(count) % len(pixels)
    return pixels[which] + random.integers(-12, 13, (count, 8, 8)), which


def _filled(spec: TableSpec, known: dict[str, Any]) -> dict[str, Any]:
    blank = {pa.string(): "", pa.int64(): 1, pa.int32(): 1, pa.float64(): 0.0}
    return {
        column.name: known.get(column.name, None if column.nullable else blank.get(column.type, NOW))
        for column in spec.schema
    }
