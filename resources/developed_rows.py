"""Rows of the two derived tables, from what opening and decoding said; sealed where they are made.

What the design seals is sealed here, under the image's own data key, with a fresh random nonce for each value; the
associated data names table, column, id and the key's day. That day is the row's too, except for a record appended
more than a day off its envelope's day: a reader takes it from the key's name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from resources.opening import Opened, Refused
from transforms.envelope import NONCE_BYTES, seal_field
from transforms.images import Developed
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES

DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class _Row:
    """A row by column, as its table has it, without what is only known when it is committed."""

    row: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic id, partition and offset of its record."""
        return self.row["topic_id"], self.row["partition"], self.row["offset"]


@dataclass(frozen=True)
class Good(_Row):
    """A developed image: a row of `images/processed_images` but for `near_duplicate_of` and `processed_at`."""

    @property
    def id(self) -> str:
        """The image's id."""
        return self.row["id"]

    @property
    def sealed(self) -> bool:
        """Whether it came through a door."""
        return self.row["via"] is not None


@dataclass(frozen=True)
class Bad(_Row):
    """A refused record: a row of `images/quarantined_images` but for `quarantined_at`."""

    @property
    def reason(self) -> Reason:
        """Why."""
        return Reason(self.row["reason"])


@dataclass(frozen=True)
class Resent:
    """A record whose image has a row already."""

    id: str
    key: str
    pseudonym: str
    sealed: bool


def good_row(opened: Opened, developed: Developed) -> Good:
    """The row of a developed image."""

    def seal(column: str, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        return seal_field(
            value,
            table=PROCESSED_IMAGES.name,
            column=column,
            id=opened.id,
            day=opened.key.day,
            key=opened.key,
            nonce=os.urandom(NONCE_BYTES),
        )

    return Good(
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
            "brightness": developed.brightness,
            "sharpness": developed.sharpness,
            "sha256": seal("sha256", opened.sha256),
            "thumbnail": seal("thumbnail", developed.thumbnail),
            "label": seal("label", _utf8(opened.label)),
            "uploader": seal("uploader", _utf8(opened.uploader)),
            "filename": seal("filename", _utf8(opened.filename)),
            "uploaded_at": opened.uploaded_at,
            "appended_at": opened.record.appended_at,
            **_origin(opened.record),
        }
    )


def bad_row(refused: Refused) -> Bad:
    """The row of a refused record."""
    return Bad(
        {
            **_origin(refused.record),
            "id": refused.id,
            "day": refused.record.day,
            "pseudonym": refused.pseudonym,
            "key": refused.key,
            "groups": None if refused.groups is None else list(refused.groups),
            "bytes": refused.record.bytes,
            "reason": refused.reason.value,
            "detail": refused.detail[:DETAIL_CHARACTERS],
            "appended_at": refused.record.appended_at,
        }
    )


def processed_table(good: Sequence[Good], near: Sequence[str | None], at: datetime) -> pa.Table:
    """Rows of `images/processed_images`.

    Args:
        good: the images, one row each.
        near: for each the id of an earlier image that looks the same, or None.
        at: when they were developed.
    """
    rows = [{**one.row, "near_duplicate_of": other, "processed_at": at} for one, other in zip(good, near, strict=True)]
    return pa.Table.from_pylist(rows, schema=PROCESSED_IMAGES.schema)


def quarantined_table(bad: Sequence[Bad], at: datetime) -> pa.Table:
    """Rows of `images/quarantined_images`; `at` is when they were put there."""
    return pa.Table.from_pylist([{**one.row, "quarantined_at": at} for one in bad], schema=QUARANTINED_IMAGES.schema)


def _origin(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("topic", "topic_id", "partition", "offset")}


def _utf8(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
