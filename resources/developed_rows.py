"""Rows of the two derived tables, from what opening and decoding said.

What the design seals is sealed here, under the image's own data key, with a fresh random nonce for each value; the
associated data names table, column, id and the key's day. That day is the row's too, except for a record appended
more than a day off its envelope's day: a reader takes it from the key's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from resources.opening import Opened, Refused
from transforms.envelope import NONCE_BYTES, seal_field
from transforms.images import Developed
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class Good:
    """A developed image with what is known of its record (`opened` no longer holds the image)."""

    opened: Opened
    developed: Developed


def processed_table(
    good: Sequence[Good],
    near: Sequence[str | None],
    at: datetime,
    nonce: Callable[[], bytes] = lambda: os.urandom(NONCE_BYTES),
) -> pa.Table:
    """Rows of `images/processed_images`.

    Args:
        good: the images, one row each.
        near: for each the id of an earlier image that looks the same, or None.
        at: when they were developed.
        nonce: 12 bytes, new at each call.
    """
    rows = []
    for image, other in zip(good, near, strict=True):
        opened, developed = image.opened, image.developed

        def seal(column: str, value: bytes | None, opened: Opened = opened) -> bytes | None:
            if value is None:
                return None
            return seal_field(
                value,
                table=PROCESSED_IMAGES.name,
                column=column,
                id=opened.id,
                day=opened.key.day,
                key=opened.key,
                nonce=nonce(),
            )

        rows.append(
            {
                "id": opened.id,
                "day": opened.record.day,
                "pseudonym": opened.pseudonym,
                "key": opened.key.name,
                "groups": list(opened.groups),
                "via": opened.via,
                "format": developed.format,
                "bytes": developed.bytes,
                "width": developed.width,
                "height": developed.height,
                "perceptual_hash": developed.perceptual_hash,
                "near_duplicate_of": other,
                "brightness": developed.brightness,
                "sharpness": developed.sharpness,
                "sha256": seal("sha256", opened.sha256),
                "thumbnail": seal("thumbnail", developed.thumbnail),
                "label": seal("label", _utf8(opened.label)),
                "uploader": seal("uploader", _utf8(opened.uploader)),
                "filename": seal("filename", _utf8(opened.filename)),
                "uploaded_at": opened.uploaded_at,
                "appended_at": opened.record.appended_at,
                "processed_at": at,
                **_origin(opened.record),
            }
        )
    return pa.Table.from_pylist(rows, schema=PROCESSED_IMAGES.schema)


def quarantined_table(refused: Sequence[Refused], at: datetime) -> pa.Table:
    """Rows of `images/quarantined_images`; `at` is when they were put there."""
    rows = [
        {
            **_origin(one.record),
            "id": one.id,
            "day": one.record.day,
            "pseudonym": one.pseudonym,
            "key": one.key,
            "groups": None if one.groups is None else list(one.groups),
            "bytes": one.record.bytes,
            "reason": one.reason.value,
            "detail": one.detail[:DETAIL_CHARACTERS],
            "appended_at": one.record.appended_at,
            "quarantined_at": at,
        }
        for one in refused
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINED_IMAGES.schema)


def _origin(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("topic", "topic_id", "partition", "offset")}


def _utf8(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
