"""Answers of the sub-second lane as they land: made by the service's own code from bronze, without a broker."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from resources.bronze import read_since
from resources.records import records_of
from resources.registry import CHAMPION, Learned, Version
from services.recogniser.answering import Answer, Answering
from services.recogniser.champions import Champions
from services.recogniser.metrics import Metrics
from tests.resources.developing.bronze_rows import NOW, TOPIC, TOPIC_ID
from tests.resources.developing.stage import Stage
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.families import DIGITS
from transforms.features import COUNT, RECIPE
from transforms.landing_protocol import Position, generation_app_ids
from transforms.onnx_models import export
from transforms.recognition import Family, train
from transforms.tables import RECOGNISED_STREAM

ANSWERS, ANSWERS_ID = "images.recognised", "BBBBBBBBBBBBBBBBBBBBBB"


def some_model(seed: int = 0) -> bytes:
    """A model of random rows, which has an opinion on every image."""
    random = np.random.default_rng(seed)
    labels = [str(number % 10) for number in range(100)]
    return export(train(DIGITS, random.random((100, COUNT)), labels), RECIPE, COUNT)


def promoted(registry: RegistryInMemory, model: bytes, family: Family = DIGITS) -> Version:
    """The model as the champion of a family."""
    version = registry.register(Learned(family.name, model, {}, {}, {}))
    return registry.move(version, CHAMPION, who="a test", why="it is wanted")


@dataclass
class Answers:
    """Collects messages, and lands them, one commit a call of `land`."""

    stage: Stage
    registry: RegistryInMemory
    rows: list[dict[str, object]] = field(default_factory=list)
    last: int = -1

    def of_bronze(self, since: int = -1) -> list[Answer]:
        """The answers of the lane to what bronze holds in partition 0 behind an offset, in order."""
        champions = Champions(lambda: self.registry, [DIGITS], Metrics())
        champions.look(self.registry)
        lane = Answering(self.stage.settings, self.stage.keys, self.stage.pool, champions, now=lambda: NOW)
        batches = read_since(self.stage.lake, {Position(TOPIC, 0, TOPIC_ID): since}, 2**24)
        return [answer for batch in batches for one in records_of(batch) for answer in lane.answer(one).answers]

    def put(self, answers: Sequence[Answer], appended: datetime = NOW) -> None:
        """Messages, one after the other, in partition 0."""
        for one in answers:
            self.last += 1
            self.rows.append(
                {
                    "topic": ANSWERS,
                    "topic_id": ANSWERS_ID,
                    "partition": 0,
                    "offset": self.last,
                    "timestamp": appended + timedelta(milliseconds=self.last),
                    "key": one.key,
                    "headers": [{"key": name, "value": value} for name, value in one.headers],
                    "payload": one.value,
                    "payload_sha256": hashlib.sha256(one.value).digest(),
                    "origin_cluster": "test",
                    "landed_at": appended,
                    "day": appended.date(),
                }
            )

    def land(self) -> None:
        """Commit what was collected, with the landing identifier."""
        handle = self.stage.lake.ensure(RECOGNISED_STREAM)
        high, low = generation_app_ids(ANSWERS)
        rows = pa.Table.from_pylist(self.rows, schema=RECOGNISED_STREAM.schema)
        identifiers = {Position(ANSWERS, 0, ANSWERS_ID).app_id: self.last}
        self.stage.lake.append(handle, RECOGNISED_STREAM, rows, identifiers, marks={high: 0, low: 0})
        self.rows = []
