"""The shapes of the upload API's answers, as OpenAPI shows them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.door.models import ProblemDocument


class AcceptedImage(BaseModel):
    """An image that the broker acknowledged."""

    id: str = Field(
        description="Name of the image, 26 characters of a-z and 2-7; the same for a resend within the day."
    )
    bytes: int = Field(description="Size of the image as it was taken.")
    day: date = Field(description="Day of the image in UTC; on its seventh day after, the image is gone.")
    topic: str = Field(description="Kafka topic that keeps it.")
    partition: int = Field(description="Kafka partition.")
    offset: int = Field(description="Kafka offset. A resend has another one, and the same id.")


class FileAccepted(AcceptedImage):
    """A file of several that was taken."""

    model_config = ConfigDict(title="FileAccepted")

    status: Literal[201] = Field(description="201.")
    filename: str | None = Field(description="The file's name as it was sent.")


class FileRefused(ProblemDocument):
    """A file of several that was refused."""

    filename: str | None = Field(description="The file's name as it was sent.")


class SeveralImages(BaseModel):
    """What became of several files, one entry a file, in the order in which they were sent."""

    results: list[FileAccepted | FileRefused]


class Recognised(BaseModel):
    """What one model named an image."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="Name of the model.")
    model_version: str = Field(description="Its version in the registry, @, begin of its run's id.")
    label: str = Field(description="What it named the image.")
    probability: float = Field(description="How probable it holds that, 0 to 1.")
    scored_at: datetime = Field(description="When, in UTC.")


class ImageState(BaseModel):
    """Where an image is, and what it was named."""

    id: str
    day: date
    state: Literal["accepted", "landed", "quarantined", "processed"]
    reason: str | None = Field(description="Reason code of a quarantined image, else null.")
    detail: str = Field(description="What state and reason mean, in a sentence.")
    updated_at: datetime | None = Field(description="When the state last changed, in UTC.")
    recognised: list[Recognised] | None = Field(
        description="What models named it, the newest answer of each; null where that cannot be read now."
    )
    links: dict[str, str] = Field(description="Where to go on: self, and thumbnail once there is one.")
