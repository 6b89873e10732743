"""The ways in which an image gets to a door: what a sender asks of one, and the way by upload.

A way tries once and says what was answered; when to try again, and where, is the sender's (cli/sender.py). By upload it
is one HTTPS request an image; by stream (cli/by_stream.py) many images share one WebSocket.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx

from cli.sent import Receipt
from resources.failures import PermanentFailure, TransientFailure


class Item(Protocol):
    """Something to send; `size` is -1 where it is not known before reading."""

    @property
    def name(self) -> str:
        """What the person calls it."""
        ...

    @property
    def filename(self) -> str | None:
        """What the door is told as its file name."""
        ...

    @property
    def label(self) -> str | None:
        """Its label, where it has one."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self) -> bytes:
        """Its bytes; raises OSError."""
        ...


class WayLost(TransientFailure):
    """No answer came: the connection was not made, or broke. The image may have been taken all the same."""


class DoorUntrusted(PermanentFailure):
    """The door's certificate is not signed by this stack's authority, or its answers are no door's."""


@dataclass(frozen=True)
class Answer:
    """A door's answer: the receipt of an image that it took, else an HTTP status with the door's words."""

    status: int
    detail: str = ""
    retry_after: float | None = None
    receipt: Receipt | None = None


class Way(Protocol):
    """One way to the doors."""

    async def put(self, door: str, item: Item, image: bytes, digest: str, uploaded_at: datetime, token: str) -> Answer:
        """Give one image to a door, once.

        Raises:
            WayLost: no answer came.
            DoorUntrusted: it is no door of this stack.
        """
        ...


class ByUpload:
    """One request an image.

    Args:
        client: verifies the doors' certificates; its timeouts hold for each try.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def put(self, door: str, item: Item, image: bytes, digest: str, uploaded_at: datetime, token: str) -> Answer:
        """See `Way.put`. A form of one file, which carries its name; a bare body where there is no name."""
        url, headers = f"{door}/v1/images", _headers(item, uploaded_at, token)
        try:
            if item.filename is None:
                headers.append((b"Content-Type", b"application/octet-stream"))
                answer = await self._client.post(url, content=image, headers=headers)
            else:
                part = (item.filename, image, "application/octet-stream")
                answer = await self._client.post(url, files={"file": part}, headers=headers)
        except httpx.TransportError as error:
            raise_if_untrusted(door, error)
            raise WayLost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        if answer.status_code != 201:
            return Answer(answer.status_code, _detail(answer), _retry_after(answer))
        try:
            return Answer(201, receipt=receipt_of(door, answer.json()))
        except ValueError as error:
            raise no_receipt(door, error) from error


def receipt_of(door: str, found: Any) -> Receipt:
    """The receipt in a door's answer for an image that it took.

    Raises:
        DoorUntrusted: there is none.
    """
    try:
        return Receipt(
            str(found["id"]), str(found["day"]), str(found["topic"]), int(found["partition"]), int(found["offset"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise no_receipt(door, error) from error


def no_receipt(door: str, error: Exception) -> DoorUntrusted:
    """What is wrong with a door that takes an image and does not say where."""
    return DoorUntrusted(
        f"{door} took an image without saying where it is kept ({error!r}). "
        "Is something else listening on that port? `darkroom status` names the doors."
    )


def raise_if_untrusted(door: str, error: BaseException) -> None:
    """A certificate of another authority does not mend itself: say so at once."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = getattr(cause, "verify_message", None) or cause
            raise DoorUntrusted(
                f"{door} shows a certificate that this stack's authority did not sign ({said}). "
                "Nothing was sent there. Is another stack listening on that port? `darkroom status` names the doors."
            ) from error
        cause = cause.__cause__ or cause.__context__


def words_of(problem: Any, otherwise: str) -> str:
    """The problem's detail (RFC 9457), else something that was said instead."""
    said = (problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else None
    return str(said) if said else otherwise


def _headers(item: Item, uploaded_at: datetime, token: str) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"Authorization", f"Bearer {token}".encode()),
        (b"X-Uploaded-At", uploaded_at.astimezone(UTC).isoformat().encode()),
    ]
    if item.label is not None:
        # UTF-8, which httpx would only take as bytes.
        headers.append((b"X-Label", item.label.encode()))
    return headers


def _detail(answer: httpx.Response) -> str:
    otherwise = answer.text[:200].strip() or answer.reason_phrase
    try:
        return words_of(answer.json(), otherwise)
    except ValueError:
        return otherwise


def _retry_after(answer: httpx.Response) -> float | None:
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
