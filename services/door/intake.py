"""An image comes in: judged by its first bytes, stamped with its day, named, sealed, and handed to Kafka.

The order matters. The day is stamped once, from the door's clock or the resend's first time, and everything after
(id, pseudonym, data key) hangs on it. Hashing, sealing and the key store are work of threads; the event loop only
waits. Nothing is answered before the broker acknowledged; the projection is told afterwards, and may fail.

Limit: the answer can be lost although the image is kept. Sending it again within the day gives the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from time import perf_counter
from typing import Any

from access.principal import Principal
from resources.key_objects import DayDestroyed, KeyUnavailable
from resources.key_protocol import Keys
from resources.postgres import StatusRow
from services.door.delivery import Deliverer, Delivery
from services.door.given import filename_of, label_of, uploaded_at_of
from services.door.problems import Kind, Problem
from services.door.projection import StatusWriter
from services.door.sniff import content_type_of
from transforms.envelope import NONCE_BYTES, Metadata, day_of, image_id, pseudonym, seal

SEALING_THREADS = 4
ACKNOWLEDGEMENT_SECONDS = 30.0
"""A report that has not come by then will not come: librdkafka gives every record up before."""


@dataclass(frozen=True)
class Accepted:
    """An image that the broker keeps. `seconds` is the time from hand-over to acknowledgement."""

    id: str
    day: date
    bytes: int
    delivery: Delivery
    seconds: float

    def document(self) -> dict[str, Any]:
        """What every door answers: what the image is called, and where the broker keeps it."""
        return {
            "id": self.id,
            "bytes": self.bytes,
            "day": self.day.isoformat(),
            "topic": self.delivery.topic,
            "partition": self.delivery.partition,
            "offset": self.delivery.offset,
        }


@dataclass(frozen=True)
class Submission:
    """An image as it came, with what its uploader says about it, unchecked. `via` names the door.

    `sha256`: what the uploader has as the image's SHA-256, in hexadecimal; None where it does not say.
    """

    image: bytes
    via: str
    label: bytes | str | None = None
    filename: str | None = None
    uploaded_at: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class _Handed:
    row: StatusRow
    future: Future[Delivery]
    started: float


class Intake:
    """Takes images in. One an instance, shared by its doors.

    Args:
        keys: the key store.
        deliverer: the stream.
        status: the projection's background writer.
        max_image_bytes: largest image; doors refuse while reading, and this checks once more.
        now: the clock, in UTC.
    """

    def __init__(
        self,
        keys: Keys,
        deliverer: Deliverer,
        status: StatusWriter,
        *,
        max_image_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._deliverer = deliverer
        self._status = status
        self._max_image_bytes = max_image_bytes
        self._now = now
        self._threads = ThreadPoolExecutor(SEALING_THREADS, thread_name_prefix="sealing")

    async def accept(self, principal: Principal, submission: Submission) -> Accepted:
        """Take one image; returns once the broker has acknowledged it.

        Raises:
            Problem: BAD_PARAMETER, EMPTY, TOO_LARGE, NOT_AN_IMAGE, UNSUPPORTED_FORMAT, DAY_DESTROYED, KEYS_AWAY,
                KAFKA_AWAY, BUSY.
        """
        size = len(submission.image)
        if size > self._max_image_bytes:
            raise too_large(self._max_image_bytes)
        content_type = content_type_of(submission.image)
        label = label_of(submission.label)
        filename = filename_of(submission.filename)
        uploaded_at = uploaded_at_of(submission.uploaded_at, self._now())
        handed = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._hand_over, principal, submission, content_type, label, filename, uploaded_at
        )
        try:
            delivery = await asyncio.wait_for(asyncio.wrap_future(handed.future), ACKNOWLEDGEMENT_SECONDS)
        except TimeoutError:
            raise Problem(
                Kind.KAFKA_AWAY,
                "Kafka did not acknowledge in time. Send it again: within its day it counts once.",
                retry_after=5,
            ) from None
        self._status.put(handed.row)
        return Accepted(handed.row.id, handed.row.day, size, delivery, perf_counter() - handed.started)

    def close(self) -> None:
        """Let the sealing threads end."""
        self._threads.shutdown(wait=True)

    def _hand_over(
        self,
        principal: Principal,
        submission: Submission,
        content_type: str,
        label: str | None,
        filename: str | None,
        uploaded_at: datetime,
    ) -> _Handed:
        day = day_of(uploaded_at)
        digest = hashlib.sha256(submission.image)
        if submission.sha256 is not None and submission.sha256.lower() != digest.hexdigest():
            raise Problem(
                Kind.BAD_PARAMETER,
                f"The bytes have SHA-256 {digest.hexdigest()}, and another was announced. Send the image again.",
            )
        try:
            secret = self._keys.platform_secret()
            name = pseudonym(secret, principal.subject, day)
            key = self._keys.current_key(day, name)
        except DayDestroyed:
            raise Problem(
                Kind.DAY_DESTROYED, f"The keys of {day} were destroyed, so no image of that day is taken any more."
            ) from None
        except KeyUnavailable as error:
            raise keys_away(error) from error
        id = image_id(secret, principal.subject, digest.digest(), day)
        metadata = Metadata(
            sha256=digest.hexdigest(),
            content_type=content_type,
            label=label,
            uploader=principal.subject,
            groups=principal.groups,
            filename=filename,
            uploaded_at=uploaded_at,
        )
        headers, value = seal(
            metadata, submission.image, id=id, day=day, key=key, via=submission.via, nonce=os.urandom(NONCE_BYTES)
        )
        started = perf_counter()
        future = self._deliverer.submit(id.encode(), value, headers)
        return _Handed(StatusRow(id, day, name, "accepted", updated_at=self._now()), future, started)


def too_large(limit: int) -> Problem:
    """The problem of an image over `limit` bytes."""
    return Problem(Kind.TOO_LARGE, f"An image has at most {limit} bytes; this one has more. Reading stopped there.")


def keys_away(error: Exception) -> Problem:
    """The problem of a key store that does not answer."""
    return Problem(
        Kind.KEYS_AWAY,
        "The key store does not answer, and no image is taken unsealed. Try again.",
        retry_after=5,
        log=str(error),
    )
