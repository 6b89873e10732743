"""Corrections written by hand: rows of images/label_corrections as landing writes them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from resources.keys import KeyStore
from resources.lake import Lake
from transforms.landing_protocol import Position
from transforms.messages import Correction, seal_correction
from transforms.tables import LABEL_CORRECTIONS

TOPIC = "images.labels"
AT = datetime(2026, 3, 5, 13, tzinfo=UTC)


@dataclass
class Corrections:
    """Lands one correction a call, each a commit."""

    lake: Lake
    keys: KeyStore
    topic_id: str = "B" * 22
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    landed: int = 0

    def say(self, id: str, key: str, label: str, *, partition: int = 0, day: date | None = None, **change: Any) -> None:
        """A correction sealed under the key of that name, as the door does, or with one thing about it changed.

        Args:
            change: `headers`, `payload` or `key_bytes` in the place of what the door writes.
        """
        opened = self.keys.open_key(key)
        headers, value = seal_correction(Correction(id, opened.day, label, AT), opened, "uploads", os.urandom(12))
        self.put(
            change.get("headers", headers),
            change.get("payload", value),
            change.get("key_bytes", id.encode()),
            partition,
            day or opened.day,
        )

    def put(self, headers: Any, payload: bytes | None, key: bytes | None, partition: int, day: date) -> None:
        """A record as it is."""
        offset = self.offsets.get((self.topic_id, partition), -1) + 1
        self.offsets[self.topic_id, partition] = offset
        self.landed += 1
        stamp = AT + timedelta(seconds=self.landed)
        row = {
            "topic": TOPIC,
            "topic_id": self.topic_id,
            "partition": partition,
            "offset": offset,
            "timestamp": stamp,
            "key": key,
            "headers": [{"key": name, "value": value} for name, value in headers],
            "payload": payload,
            "payload_sha256": None,
            "origin_cluster": "test",
            "landed_at": stamp,
            "day": day,
        }
        handle = self.lake.ensure(LABEL_CORRECTIONS)
        rows = pa.Table.from_pylist([row], schema=LABEL_CORRECTIONS.schema)
        self.lake.append(handle, LABEL_CORRECTIONS, rows, {Position(TOPIC, partition, self.topic_id).app_id: offset})
