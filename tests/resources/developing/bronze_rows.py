"""Bronze written by hand: rows as landing writes them, in real Delta tables, without a broker."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from resources.keys import KeyStore
from resources.lake import Lake
from transforms.envelope import Metadata, image_id, pseudonym, seal
from transforms.landing_protocol import Position
from transforms.tables import RAW_IMAGES

TOPIC = "images.raw"
TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
DAY = NOW.date()

Headers = Sequence[tuple[str, bytes | None]]


@dataclass
class Bronze:
    """Collects records and lands them, one commit a call of `land`."""

    lake: Lake
    keys: KeyStore
    topic_id: str = TOPIC_ID
    rows: list[dict[str, object]] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)

    def plain(
        self,
        payload: bytes | None,
        headers: Headers = (),
        *,
        key: bytes | None = None,
        partition: int = 0,
        day: date = DAY,
    ) -> int:
        """A record as some producer wrote it; returns its offset."""
        offset = self.offsets.get(partition, -1) + 1
        self.offsets[partition] = offset
        stamp = NOW + timedelta(milliseconds=len(self.rows))
        self.rows.append(
            {
                "topic": TOPIC,
                "topic_id": self.topic_id,
                "partition": partition,
                "offset": offset,
                "timestamp": stamp,
                "key": key,
                "headers": [{"key": name, "value": value} for name, value in headers],
                "payload": payload,
                "payload_sha256": None if payload is None else hashlib.sha256(payload).digest(),
                "origin_cluster": "test",
                "landed_at": stamp,
                "day": day,
            }
        )
        return offset

    def sealed(
        self,
        image: bytes,
        *,
        uploader: str = "ada",
        label: str | None = "a label",
        groups: tuple[str, ...] = ("photo",),
        sha256: bytes | None = None,
        day: date = DAY,
        partition: int = 0,
        change_headers: dict[str, bytes] | None = None,
        change_payload: bool = False,
        row_day: date | None = None,
    ) -> str:
        """A record as a door seals it, or with one thing about it changed; returns the image's id."""
        secret = self.keys.platform_secret()
        digest = hashlib.sha256(image).digest()
        id = image_id(secret, uploader, digest, day)
        metadata = Metadata(
            (sha256 or digest).hex(), "image/png", label, uploader, groups, "a name.png", NOW - timedelta(seconds=1)
        )
        key = self.keys.current_key(day, pseudonym(secret, uploader, day))
        headers, value = seal(metadata, image, id=id, day=day, key=key, via="uploads", nonce=os.urandom(12))
        changed = [(name, (change_headers or {}).get(name, given)) for name, given in headers]
        if change_payload:
            value = value[:-1] + bytes([value[-1] ^ 1])
        self.plain(value, changed, key=id.encode(), partition=partition, day=row_day or day)
        return id

    def land(self) -> None:
        """Commit what was collected, with the landing identifiers."""
        handle = self.lake.ensure(RAW_IMAGES)
        identifiers = {
            Position(TOPIC, partition, self.topic_id).app_id: offset
            for partition, offset in self.offsets.items()
            if any(row["partition"] == partition for row in self.rows)
        }
        # As landing does: sorted, for partitions do not share row groups.
        rows = pa.Table.from_pylist(self.rows, schema=RAW_IMAGES.schema).sort_by(
            [("partition", "ascending"), ("offset", "ascending")]
        )
        self.lake.append(handle, RAW_IMAGES, rows, identifiers)
        self.rows = []
