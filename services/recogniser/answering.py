"""One record: opened, developed elsewhere, named by each family's champion, and the answers sealed under its key.

What does not open, or is no good image, is passed over by its reason, as the batch lane quarantines it; this lane keeps
no row of it. Opening follows the batch lane's own rules (`resources.opening`), features are taken where images are
decoded (`resources.decoding`), and the file that scores is the same: so both lanes give the same answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from resources.key_protocol import Keys
from resources.opening import Opened, Opener, Refused
from resources.records import Record
from resources.settings import Settings
from services.recogniser.champions import Champion
from transforms.envelope import NONCE_BYTES
from transforms.families import FAMILIES
from transforms.images import Rejected
from transforms.messages import Recognition, seal_recognition
from transforms.recognition import Family

VIA = "recogniser"
NAMED, NO_CHAMPION, NOT_ADMITTED = "named", "no_champion", "not_admitted"
BELIEVED_SECONDS = 1.0
"""How long the list of a day's erased images is believed."""


class Measurer(Protocol):
    """Where images are decoded; `resources.decoding.DecodePool` is it."""

    def features(self, image: bytes | memoryview) -> np.ndarray | Rejected:
        """The features of one image, or why it has none; raises TransientFailure."""
        ...


class Models(Protocol):
    """What scores; `services.recogniser.champions.Champions` is it."""

    def of(self, family: Family) -> Champion | None:
        """The family's champion, if one was ever loaded."""
        ...


@dataclass(frozen=True)
class Answer:
    """A record for the topic of answers."""

    model: str
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a record: `named` with its answers, or why there are none."""

    name: str
    answers: tuple[Answer, ...] = ()


class Answering:
    """Answers records, several at once.

    Args:
        settings: how records are opened.
        keys: the key store.
        measurer: where images are decoded.
        models: what scores.
        now: the time answers are stamped with, with a zone.
    """

    def __init__(
        self, settings: Settings, keys: Keys, measurer: Measurer, models: Models, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._measurer = measurer
        self._models = models
        self._now = now
        self._opener = (0.0, Opener(settings, keys))

    def answer(self, record: Record) -> Outcome:
        """Name one record's image.

        Raises:
            TransientFailure: keys or decoding processes are away; nothing was judged.
        """
        if not any(self._models.of(family) for family in FAMILIES):
            return Outcome(NO_CHAMPION)
        opened = self._fresh().open(record)
        if isinstance(opened, Refused):
            return Outcome(opened.reason.value)
        vector = self._measurer.features(opened.image)
        if isinstance(vector, Rejected):
            return Outcome(vector.reason.value)
        asked = [family for family in FAMILIES if family.admits(vector)]
        # Only now: a champion that was promoted while the image was developed scores it already.
        champions = [champion for family in asked if (champion := self._models.of(family)) is not None]
        if not champions:
            return Outcome(NO_CHAMPION if asked else NOT_ADMITTED)
        return Outcome(NAMED, tuple(self._named(opened, vector, champion) for champion in champions))

    def _named(self, opened: Opened, vector: np.ndarray, champion: Champion) -> Answer:
        scores = champion.scorer.score(vector[np.newaxis])
        record, version = opened.record, champion.version
        recognition = Recognition(
            id=opened.id,
            day=opened.key.day,
            model=version.model,
            model_version=version.mark,
            label=scores.labels[0],
            probability=float(scores.probabilities[0]),
            scored_at=self._now(),
            topic=record.topic,
            topic_id=record.topic_id,
            partition=record.partition,
            offset=record.offset,
        )
        headers, value = seal_recognition(recognition, opened.key, VIA, os.urandom(NONCE_BYTES))
        return Answer(version.model, opened.id.encode(), headers, value)

    def _fresh(self) -> Opener:
        """An opener that has listed erased images just now; threads may make one each, which does no harm."""
        made, opener = self._opener
        if time.monotonic() - made > BELIEVED_SECONDS:
            opener = Opener(self._settings, self._keys)
            self._opener = (time.monotonic(), opener)
        return opener
