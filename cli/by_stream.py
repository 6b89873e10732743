"""The way by stream: many images share one WebSocket, each answered by its number once the broker has it.

Mechanism: a connection speaks for one token. Whoever has an image writes its two frames, one image after another, and
waits for the answer of that number; the door stops reading when too many wait, and then writing waits too. When the
connection ends, everything that was not answered is lost for this try, and the sender gives it again. A new token
makes a new connection; the old one ends with its last answer.

Limit: a door that ends the connection for one image's sake does not say which: it is taken to be the last one written,
or, when it was too large, the largest.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from cli.ways import Answer, DoorUntrusted, Item, WayLost, raise_if_untrusted, receipt_of, words_of

ANSWER_SECONDS = 90.0
"""From writing an image to its answer: a door may hold back for half a minute, and Kafka may take as long."""
OPEN_SECONDS = 10.0
LARGEST_ANSWER = 64 * 1024
_TOO_LARGE = 1009
_BROKE_THE_PROTOCOL = (1002, 1003, 1007, 1008)


class ByStream:
    """The connections of one sender; within one event loop. `close` it.

    Args:
        trust: verifies the doors' certificates; None for doors without TLS, in tests.
    """

    def __init__(self, trust: ssl.SSLContext | None) -> None:
        self._trust = trust
        self._lines: dict[tuple[str, str], asyncio.Task[_Line | Answer]] = {}

    async def put(self, door: str, item: Item, image: bytes, digest: str, uploaded_at: datetime, token: str) -> Answer:
        """See `Way.put`."""
        line = await self._line(door, token)
        if isinstance(line, Answer):
            return line
        said = {
            "label": item.label,
            "filename": item.filename,
            "uploaded_at": uploaded_at.astimezone(UTC).isoformat(),
            "sha256": digest,
        }
        return await line.put({name: value for name, value in said.items() if value is not None}, image)

    async def close(self) -> None:
        """End every connection."""
        for opening in self._lines.values():
            opening.cancel()
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                line = opening.result()
                if isinstance(line, _Line):
                    await line.close()
        self._lines.clear()

    async def _line(self, door: str, token: str) -> _Line | Answer:
        """The connection of this token, opened once for all who want it at the same time; or why there is none."""
        opening = self._lines.get((door, token))
        if opening is None or (opening.done() and not _serves(opening)):
            for (other, _), older in self._lines.items():
                if other == door and older.done() and _serves(older):
                    line = older.result()
                    if isinstance(line, _Line):
                        line.retire()
            opening = asyncio.create_task(self._open(door, token))
            self._lines = {key: task for key, task in self._lines.items() if not task.done() or _serves(task)}
            self._lines[door, token] = opening
        return await asyncio.shield(opening)

    async def _open(self, door: str, token: str) -> _Line | Answer:
        try:
            connection = await connect(
                door,
                ssl=self._trust,
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,  # images do not shrink
                max_size=LARGEST_ANSWER,
                # A door that holds back reads no ping either: that it is slow ends nothing, that it is gone TCP says.
                ping_timeout=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=2,
                proxy=None,
                max_queue=1024,
            )
        except InvalidStatus as error:
            return _refusal(error)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise_if_untrusted(door, error)
            raise WayLost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        return _Line(door, connection)


@dataclass
class _Waiting:
    size: int
    answer: asyncio.Future[Answer]


class _Line:
    """One connection."""

    def __init__(self, door: str, connection: ClientConnection) -> None:
        self.ended = False
        self._door = door
        self._connection = connection
        self._seq = 0
        self._waiting: dict[int, _Waiting] = {}
        self._writing = asyncio.Lock()
        self._said = ""
        self._retired = False
        self._reading = asyncio.create_task(self._read())

    async def put(self, said: dict[str, Any], image: bytes) -> Answer:
        """Write an image; its answer."""
        waiting = _Waiting(len(image), asyncio.get_running_loop().create_future())
        seq = -1
        try:
            async with self._writing:
                if self.ended:
                    raise WayLost("the connection ended while the image waited its turn")
                seq, self._seq = self._seq, self._seq + 1
                self._waiting[seq] = waiting
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._connection.send(json.dumps({"seq": seq, **said}))
                    await self._connection.send(image)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await waiting.answer
        except ConnectionClosed:
            # The reader has more to say: the door's last words, and which image they are about.
            await asyncio.wait([self._reading])
            return await waiting.answer
        except TimeoutError:
            await self.close()
            raise WayLost(f"no answer within {ANSWER_SECONDS:g} s") from None
        finally:
            self._waiting.pop(seq, None)
            if self._retired and not self._waiting:
                await self.close()

    def retire(self) -> None:
        """Close after the last answer."""
        self._retired = True

    async def close(self) -> None:
        """End the connection."""
        self.ended = True
        await self._connection.close()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        lost: Exception = WayLost("the connection ended")
        code: int | None = None
        try:
            async for frame in self._connection:
                self._answered(frame)
        except ConnectionClosed as closed:
            code = None if closed.rcvd is None else closed.rcvd.code
            lost = WayLost(self._said or f"the connection ended: {closed}")
        except DoorUntrusted as untrusted:
            lost = untrusted
        finally:
            self.ended = True
        self._give_up(code, lost)
        await self._connection.close()

    def _answered(self, frame: str | bytes) -> None:
        try:
            found = json.loads(frame)
            problem, seq = found.get("problem"), found.get("seq")
        except (ValueError, AttributeError) as error:
            raise DoorUntrusted(f"{self._door} sent what is no answer ({error}).") from error
        if seq is None:
            self._said = words_of(problem, "the door ended the connection")
            return
        waiting = self._waiting.get(seq)
        if waiting is None or waiting.answer.done():
            return
        if problem is None:
            waiting.answer.set_result(Answer(201, receipt=receipt_of(self._door, found)))
            return
        status = int(problem.get("status", 500)) if isinstance(problem, dict) else 500
        after = problem.get("retry_after") if isinstance(problem, dict) else None
        waiting.answer.set_result(Answer(status, words_of(problem, "refused"), after))

    def _give_up(self, code: int | None, lost: Exception) -> None:
        """Nobody is answered any more: blame one image where one is to blame, and let the others be sent again."""
        left = {seq: one for seq, one in self._waiting.items() if not one.answer.done()}
        if left and code == _TOO_LARGE:
            seq = max(left, key=lambda seq: left[seq].size)
            left.pop(seq).answer.set_result(Answer(413, "The image is larger than this door takes."))
        elif left and code in _BROKE_THE_PROTOCOL:
            left.pop(max(left)).answer.set_result(Answer(400, str(lost)))
        for waiting in left.values():
            waiting.answer.set_exception(lost)
            waiting.answer.exception()  # one whose asker has left is nobody's error


def _serves(opening: asyncio.Task[_Line | Answer]) -> bool:
    if opening.cancelled() or opening.exception() is not None:
        return False
    line = opening.result()
    return isinstance(line, _Line) and not line.ended


def _refusal(error: InvalidStatus) -> Answer:
    response = error.response
    try:
        problem = json.loads(response.body or b"")
    except ValueError:
        problem = None
    try:
        after = max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        after = None
    return Answer(response.status_code, words_of(problem, response.reason_phrase), after)
