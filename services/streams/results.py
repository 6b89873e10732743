"""`/v1/results`: what models name the images of one uploader, pushed as it is known.

The peer only listens. Each answer is opened here, for the uploader who asks and nobody else: whose image it is shows by
the pseudonym in its key's name, which is computed anew from the token's subject and the image's day.

Limits: what came before the handshake is not repeated (`GET /v1/images/{id}` has it); a peer that is a thousand answers
behind misses the oldest, and is told how many. The same answer may come twice, after a restart of what answers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Coroutine
from datetime import date, timedelta
from time import perf_counter
from typing import Any

from starlette.types import Receive, Send

from access.tokens import Proof
from resources.key_objects import KeyUnavailable
from services.door import answers
from services.door.answers import Listener, SealedAnswer
from services.door.bearer import HOW_TO_ASK
from services.door.intake import keys_away
from services.door.problems import Kind, Problem
from services.door.rendering import told
from services.door.wiring import Door
from services.streams.frames import TRY_LATER, UNAUTHENTICATED, UNSUPPORTED, refused_frame
from services.streams.session import End, Limits
from services.streams.websocket import ENDING
from transforms.envelope import day_of
from transforms.messages import Recognition
from transforms.names import pseudonym

log = logging.getLogger("darkroom.access")

NEAR = timedelta(days=2)
"""Images' days lie so near to today at most: doors stamp them, and resends repeat them for a day."""


class ResultSession:
    """One accepted connection.

    Args:
        door: the door's parts.
        proof: who listens, and until when.
        number: of this connection, as the log has it.
        receive, send: of the server.
        limits: `send_seconds` alone.
    """

    def __init__(self, door: Door, proof: Proof, number: str, receive: Receive, send: Send, limits: Limits) -> None:
        self._door = door
        self._proof = proof
        self._number = number
        self._receive = receive
        self._send = send
        self._limits = limits
        self._told = 0

    async def run(self) -> End:
        """Serve the connection until it ends."""
        started = perf_counter()
        mine = _Mine(self._door, self._proof.principal.subject)
        try:
            await self._door.ask(mine.prepare)
            with self._door.answers.listening(mine) as listener:
                end = await self._first(self._hear(), self._push(listener), self._expire())
        except KeyUnavailable as error:
            end = End(TRY_LATER, keys_away(error))
        except Exception:
            fields = {"request": self._number, "route": "/v1/results", "trace": traceback.format_exc()}
            log.error("results failed", extra={"fields": fields})
            detail = "The failure is in the service's log under this connection's number."
            end = End(1011, Problem(Kind.INTERNAL, detail))
        if not end.gone:
            await self._close(end)
        fields = {
            "request": self._number,
            "route": "/v1/results",
            "code": end.code,
            "answers": self._told,
            "milliseconds": round((perf_counter() - started) * 1000, 1),
        }
        log.info("results", extra={"fields": fields})
        return end

    async def _first(self, *works: Coroutine[Any, Any, End]) -> End:
        """The end that comes first; the others are stopped."""
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> End:
        message = await self._receive()
        if message["type"] == ENDING:
            return End(message["code"], message["problem"])
        if message["type"] == "websocket.disconnect":
            return End(message.get("code") or 1005, gone=True)
        return End(UNSUPPORTED, Problem(Kind.MALFORMED, "Nothing is sent to /v1/results; images go to /v1/stream."))

    async def _expire(self) -> End:
        left = (self._proof.expires - self._door.now()).total_seconds()
        await asyncio.sleep(max(0.0, left))
        return End(UNAUTHENTICATED, Problem(Kind.UNAUTHENTICATED, f"The token has expired. {HOW_TO_ASK}"))

    async def _push(self, listener: Listener) -> End:
        while True:
            await listener.wait()
            batch = list(listener.found)
            listener.found.clear()
            missed, listener.missed = listener.missed, 0
            if missed and not await self._tell({"missed": missed}):
                return End(1006, gone=True)
            try:
                for found in await self._door.ask(lambda batch=batch: self._opened(batch)):
                    if not await self._tell(_frame(found)):
                        return End(1006, gone=True)
                    self._told += 1
            except KeyUnavailable as error:
                return End(TRY_LATER, keys_away(error))

    def _opened(self, batch: list[SealedAnswer]) -> list[Recognition]:
        found = (answers.opened(self._door.edges.keys, one) for one in batch)
        return [one for one in found if one is not None]

    async def _tell(self, content: dict[str, object]) -> bool:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send({"type": "websocket.send", "text": json.dumps(content)})
        except (TimeoutError, OSError, RuntimeError):  # the last from uvicorn, which has closed and not yet said so
            return False
        return True

    async def _close(self, end: End) -> None:
        reason = ""
        if end.problem is not None:
            told(self._number, end.problem)
            reason = end.problem.kind.code
            if not await self._tell(json.loads(refused_frame(None, end.problem, f"urn:uuid:{self._number}"))):
                return
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send({"type": "websocket.close", "code": end.code, "reason": reason})
        except (TimeoutError, OSError, RuntimeError):
            return


class _Mine:
    """Which answers are one uploader's. The thread that reads answers calls it, so that it asks nobody."""

    def __init__(self, door: Door, subject: str) -> None:
        self._door = door
        self._subject = subject
        self._secret = b""
        self._named: dict[date, str] = {}

    def prepare(self) -> None:
        """Ask the key store once, for the connection's life; raises KeyUnavailable."""
        self._secret = self._door.edges.keys.platform_secret()

    def __call__(self, answer: SealedAnswer) -> bool:
        day = answer.clear.day
        if abs(day - day_of(self._door.now())) > NEAR:
            return False
        if day not in self._named:
            self._named[day] = pseudonym(self._secret, self._subject, day)
        return self._named[day] == answer.pseudonym


def _frame(found: Recognition) -> dict[str, object]:
    return {
        "id": found.id,
        "day": found.day.isoformat(),
        "model": found.model,
        "model_version": found.model_version,
        "label": found.label,
        "probability": found.probability,
        "scored_at": found.scored_at.isoformat().replace("+00:00", "Z"),
        "topic": found.topic,
        "partition": found.partition,
        "offset": found.offset,
    }
