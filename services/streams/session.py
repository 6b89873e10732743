"""One connection after its handshake: images in, answers out, and an end that loses nothing it acknowledged.

One task reads; each image is a task of its own, so answers come in the order of the broker's acknowledgements. An image
counts against the connection's window from the end of its frame until its answer was written to the socket: a sender
that is quicker than the broker, or does not read its answers, is simply not read from. Answers that cannot be written
for `send_seconds` end the connection.

Limit: an answer can be lost although the image is kept, as everywhere; sending again is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from starlette.types import Message, Receive, Send

from access.tokens import Proof
from services.door.bearer import HOW_TO_ASK
from services.door.budget import Lease
from services.door.intake import Submission
from services.door.problems import Kind, Problem
from services.door.rendering import told
from services.door.wiring import Door
from services.streams.frames import (
    GOING_AWAY,
    OUT_OF_ORDER,
    UNAUTHENTICATED,
    ImageMetadata,
    Violation,
    accepted_frame,
    metadata_of,
    refused_frame,
)
from services.streams.websocket import ENDING

log = logging.getLogger("darkroom.access")

VIA = "streams"


@dataclass(frozen=True)
class Limits:
    """What one connection may do.

    Attributes:
        images: most images that wait for their answers; then nothing more is read.
        bytes: most bytes of those images; one image always fits.
        send_seconds: an answer that cannot be written for so long ends the connection.
        idle_seconds: a connection that brings no whole frame for so long is closed.
    """

    images: int = 256
    bytes: int = 32 * 1024 * 1024
    send_seconds: float = 30.0
    idle_seconds: float = 600.0


@dataclass(frozen=True)
class End:
    """How a connection ends: the close code, and what is said before. `gone`: nobody is there to be told."""

    code: int
    problem: Problem | None = None
    gone: bool = False


class Session:
    """One accepted connection.

    Args:
        door: the door's parts.
        proof: who sends, and until when.
        number: of this connection, as the log has it.
        receive, send: of the server.
        limits: see `Limits`.
    """

    def __init__(self, door: Door, proof: Proof, number: str, receive: Receive, send: Send, limits: Limits) -> None:
        self._door = door
        self._proof = proof
        self._number = number
        self._receive = receive
        self._send = send
        self._limits = limits
        self._seq = -1
        self._taken = 0
        self._gone = False
        self._images = 0
        self._bytes = 0
        self._freed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[End] | None = None

    async def run(self) -> End:
        """Serve the connection until it ends, and answer what was under way."""
        started = perf_counter()
        self._reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait([self._reader])
        finally:
            self._reader.cancel()
        end = End(1006, gone=True) if self._reader.cancelled() else self._reader.result()
        self._gone = end.gone
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not end.gone:
            await self._close(end)
        fields = {
            "request": self._number,
            "route": "/v1/stream",
            "code": end.code,
            "images": self._taken,
            "milliseconds": round((perf_counter() - started) * 1000, 1),
        }
        log.info("stream", extra={"fields": fields})
        return end

    async def _read(self) -> End:
        try:
            while True:
                await self._until(lambda: self._images < self._limits.images and self._bytes < self._limits.bytes)
                given = await self._next()
                if isinstance(given, End):
                    return given
                metadata = _metadata(given, self._seq)
                if (expired := self._expired()) is not None:
                    return expired
                self._seq = metadata.seq
                given = await self._next()
                if isinstance(given, End):
                    return given
                image = _image(given, metadata.seq)
                if (expired := self._expired()) is not None:
                    return expired
                self._begin(metadata, image)
                del given, image  # not held while the next one is waited for
        except Violation as violation:
            return End(violation.code, violation.problem)
        except Exception:
            # The last resort, as at the other doors: the sender gets an answer and the log the trace.
            return End(1011, self._unforeseen("stream failed"))

    async def _next(self) -> Message | End:
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                message = await self._receive()
        except TimeoutError:
            seconds = f"{self._limits.idle_seconds:g}"
            return End(GOING_AWAY, Problem(Kind.TOO_SLOW, f"No whole frame arrived for {seconds} seconds."))
        if message["type"] == ENDING:
            return End(message["code"], message["problem"])
        if message["type"] == "websocket.disconnect":
            return End(message.get("code") or 1005, gone=True)
        return message

    def _expired(self) -> End | None:
        if self._door.now() < self._proof.expires:
            return None
        return End(UNAUTHENTICATED, Problem(Kind.UNAUTHENTICATED, f"The token has expired. {HOW_TO_ASK}"))

    async def _until(self, free: Callable[[], bool]) -> None:
        while not free():
            self._freed.clear()
            await self._freed.wait()

    def _begin(self, metadata: ImageMetadata, image: bytes) -> None:
        """Take the image in a task of its own; what the budget has no room for is answered at once."""
        self._images += 1
        self._bytes += len(image)
        self._taken += 1
        lease = self._door.budget.lease()
        submission: Submission | Problem
        try:
            lease.grow(len(image))
        except Problem as problem:
            submission = problem
        else:
            submission = Submission(
                image, VIA, metadata.label, metadata.filename, metadata.uploaded_at, sha256=metadata.sha256
            )
        task = asyncio.create_task(self._take(metadata.seq, submission, lease, len(image)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, seq: int, submission: Submission | Problem, lease: Lease, size: int) -> None:
        try:
            with lease:
                frame = await self._answer(seq, submission)
            del submission
            await self._tell({"type": "websocket.send", "text": frame})
        finally:
            self._images -= 1
            self._bytes -= size
            self._freed.set()

    async def _answer(self, seq: int, submission: Submission | Problem) -> str:
        try:
            if isinstance(submission, Problem):
                raise submission
            accepted = await self._door.intake.accept(self._proof.principal, submission)
        except Problem as refusal:
            problem = refusal
        except Exception:
            problem = self._unforeseen("image failed")
        else:
            self._door.metrics.count(accepted)
            return accepted_frame(seq, accepted)
        self._door.metrics.count(problem)
        told(self._number, problem)
        return refused_frame(seq, problem, f"urn:uuid:{self._number}")

    def _unforeseen(self, what: str) -> Problem:
        """Log the trace of what is being handled; the sender is told its number alone."""
        fields = {"request": self._number, "route": "/v1/stream", "trace": traceback.format_exc()}
        log.error(what, extra={"fields": fields})
        return Problem(Kind.INTERNAL, "The failure is in the service's log under this connection's number.")

    async def _tell(self, message: Message) -> bool:
        """Write to the peer; a peer that is gone, or does not read, ends the reading too."""
        if self._gone:
            return False
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send(message)
        except (TimeoutError, OSError, RuntimeError):  # the last from uvicorn, which has closed and not yet said so
            self._gone = True
            if self._reader is not None:
                self._reader.cancel()
            return False
        return True

    async def _close(self, end: End) -> None:
        if end.problem is not None:
            told(self._number, end.problem)
            frame = refused_frame(None, end.problem, f"urn:uuid:{self._number}")
            if not await self._tell({"type": "websocket.send", "text": frame}):
                return
        reason = "" if end.problem is None else end.problem.kind.code
        await self._tell({"type": "websocket.close", "code": end.code, "reason": reason})


def _metadata(message: Message, after: int) -> ImageMetadata:
    text = message.get("text")
    if text is None:
        raise Violation(OUT_OF_ORDER, "A binary frame came without metadata. Send a text frame with its seq first.")
    return metadata_of(text, after)


def _image(message: Message, seq: int) -> bytes:
    image = message.get("bytes")
    if image is None:
        raise Violation(OUT_OF_ORDER, f"A text frame came where the image of seq {seq} was due, as a binary frame.")
    return bytes(image)
