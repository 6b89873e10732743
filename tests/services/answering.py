"""Answers of the sub-second lane as tests of the doors make them: sealed under the real key of the image's uploader."""

from __future__ import annotations

import os
from datetime import date, timedelta

from services.door.answers import SealedAnswer
from tests.services.uploading import NOON, Bench
from transforms.envelope import clear_of, pseudonym
from transforms.messages import Recognition, seal_recognition
from transforms.names import DataKey

DAY = NOON.date()


def key_of(bench: Bench, subject: str = "ada", day: date = DAY) -> DataKey:
    return bench.keys.current_key(day, pseudonym(bench.keys.platform_secret(), subject, day))


def answer(
    bench: Bench, id: str, label: str, subject: str = "ada", day: date = DAY, later: int = 0, model: str = "digits"
) -> SealedAnswer:
    """The answer that the image shows `label`, given `later` seconds after noon."""
    key = key_of(bench, subject, day)
    said = Recognition(
        id, day, model, f"{later + 1}@abcdef01", label, 0.75, NOON + timedelta(seconds=later), "images.raw", "T", 2, 0
    )
    headers, value = seal_recognition(said, key, "recogniser", os.urandom(12))
    clear = clear_of(headers)
    assert clear is not None
    return SealedAnswer(clear, value, pseudonym(bench.keys.platform_secret(), subject, day))
