"""Sealed words about an image, on topics of their own: a corrected label, an answer of a model.

A message has the headers of the image's envelope (v, id, day, key, via) and as its value a small JSON map, sealed under
the image's own data key; associated data is that of a column `payload` of the table where its topic lands, so that a
message of one topic opens on no other (docs/envelope.md). Whoever destroys the image's key makes its messages dark.
Kafka's key is the image's id. Pure: the nonce is an argument.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from transforms.envelope import VERSION, Clear, EnvelopeError, open_field, seal_field
from transforms.names import DataKey
from transforms.reasons import Reason
from transforms.tables import LABEL_CORRECTIONS, RECOGNISED_STREAM, TableSpec

PAYLOAD = "payload"
_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"

_T = TypeVar("_T")
Sealed = tuple[list[tuple[str, bytes]], bytes]
"""Kafka headers and value."""


@dataclass(frozen=True)
class Correction:
    """A label put right by who uploaded the image. `corrected_at` has a zone."""

    id: str
    day: date
    label: str
    corrected_at: datetime


@dataclass(frozen=True)
class Recognition:
    """What one version of a model named one image, and which record of the images' topic it read.

    Attributes:
        id, day: of the image.
        model, model_version: as in `recognition/recognised_images`; the version is `Version.mark`.
        label: the answer.
        probability: how probable the model holds it, 0 to 1.
        scored_at: with a zone.
        topic, topic_id, partition, offset: the record.
    """

    id: str
    day: date
    model: str
    model_version: str
    label: str
    probability: float
    scored_at: datetime
    topic: str
    topic_id: str
    partition: int
    offset: int


def seal_correction(correction: Correction, key: DataKey, via: str, nonce: bytes) -> Sealed:
    """Seal a correction under the image's data key; `via` names the door. Raises ValueError as `seal_field` does."""
    fields = {"label": correction.label, "corrected_at": _text(correction.corrected_at)}
    return _seal(LABEL_CORRECTIONS, fields, correction.id, correction.day, key, via, nonce)


def open_correction(clear: Clear, value: bytes | memoryview, key: DataKey) -> Correction:
    """Open what `seal_correction` sealed.

    Raises:
        EnvelopeError: TAMPERED, for anything but that.
    """
    fields = _open(LABEL_CORRECTIONS, clear, value, key)
    with _Form(clear):
        return Correction(clear.id, clear.day, _words(fields["label"]), _instant(fields["corrected_at"]))


def seal_recognition(recognition: Recognition, key: DataKey, via: str, nonce: bytes) -> Sealed:
    """Seal an answer under the image's data key; `via` names the service. Raises ValueError as `seal_field` does."""
    fields = {
        "model": recognition.model,
        "model_version": recognition.model_version,
        "label": recognition.label,
        "probability": recognition.probability,
        "scored_at": _text(recognition.scored_at),
        "topic": recognition.topic,
        "topic_id": recognition.topic_id,
        "partition": recognition.partition,
        "offset": recognition.offset,
    }
    return _seal(RECOGNISED_STREAM, fields, recognition.id, recognition.day, key, via, nonce)


def open_recognition(clear: Clear, value: bytes | memoryview, key: DataKey) -> Recognition:
    """Open what `seal_recognition` sealed.

    Raises:
        EnvelopeError: TAMPERED, for anything but that.
    """
    fields = _open(RECOGNISED_STREAM, clear, value, key)
    with _Form(clear):
        return Recognition(
            id=clear.id,
            day=clear.day,
            model=_words(fields["model"]),
            model_version=_words(fields["model_version"]),
            label=_words(fields["label"]),
            probability=_is(fields["probability"], float),
            scored_at=_instant(fields["scored_at"]),
            topic=_words(fields["topic"]),
            topic_id=_words(fields["topic_id"]),
            partition=_is(fields["partition"], int),
            offset=_is(fields["offset"], int),
        )


def _seal(
    table: TableSpec, fields: Mapping[str, object], id: str, day: date, key: DataKey, via: str, nonce: bytes
) -> Sealed:
    packed = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    value = seal_field(packed, table=table.name, column=PAYLOAD, id=id, day=day, key=key, nonce=nonce)
    return Clear(VERSION, id, day, key.name, via).headers(), value


def _open(table: TableSpec, clear: Clear, value: bytes | memoryview, key: DataKey) -> dict[str, Any]:
    if key.name != clear.key:
        raise ValueError(f"The message names the key {clear.key!r} and was to be opened with {key.name}.")
    if clear.day != key.day:
        # Else a message could carry one day and outlive its destruction under the key of another.
        raise EnvelopeError(
            Reason.TAMPERED, f"The message says day {clear.day} and its key {key.name} is another day's."
        )
    packed = open_field(value, table=table.name, column=PAYLOAD, id=clear.id, day=clear.day, key=key)
    with _Form(clear):
        return _is(json.loads(packed.decode()), dict)


class _Form:
    """Makes of a message whose content has another form than ours one error, without its content."""

    def __init__(self, clear: Clear) -> None:
        self._clear = clear

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | KeyError | TypeError | RecursionError):
            what = f"The message about {self._clear.id} is authentic and not of a form that this release reads"
            raise EnvelopeError(Reason.TAMPERED, f"{what} ({type(error).__name__}).") from None


def _is(value: object, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(f"not a {kind.__name__}")
    return value


def _words(value: object) -> str:
    text = _is(value, str)
    text.encode()  # JSON can spell half a surrogate pair, which no table can hold
    return text


def _text(instant: datetime) -> str:
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone.")
    return f"{instant.astimezone(UTC):{_INSTANT}}"


def _instant(text: str) -> datetime:
    return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
