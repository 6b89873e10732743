"""uvicorn's WebSocket, held back: it reads the socket only while the application asks for the next message.

Why: a WebSocket has no length of a whole request and no end, so whatever its sender does must be bounded here, before
the application sees it. uvicorn's own protocol reads one message ahead on every connection, answers pings into a full
buffer, and ends every connection at once when it stops. Mechanism, beside what it inherits:

- Reading is paused between messages until `receive` is called, and while the peer does not read what was written.
- Bytes of frames that are not complete yet count against the same budget as images; a full budget ends the connection
  with 1013, for half a frame cannot be refused by itself.
- A ping that the peer could not answer, because nothing was read or its own frame is still coming, ends nothing.
- A stop of the server is told to the application, which answers what is under way and then closes with 1012.
- After a frame over the limit the socket is read and thrown away for a moment, so that the close frame arrives.
- A connection that has ended is gone seconds later, whether its peer read the rest or not.

Limits: this leans on names of uvicorn and websockets that are not private and not promised either; the lock file pins
both, and tests/services/test_streams_faults.py holds every line of the above.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from services.door.budget import Budget
from services.door.problems import Problem
from services.streams.frames import RESTARTING, TRY_LATER

ENDING = "darkroom.ending"
"""Type of the event that asks the application to end: `code` to close with, `problem` to say before, or None."""
MOST_FRAGMENTS = 1024
"""Fragments of one message: a message of single bytes would cost forty times its size."""
CLOSE_SECONDS = 2.0
"""How long a peer may take to answer a close frame, and how long what it still sends is thrown away."""


class HeldBackWebSocket(WebSocketsSansIOProtocol):
    """One connection.

    Args:
        config, server_state, app_state, _loop: uvicorn's.
        budget: bytes that may be held at once, over all connections.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        budget: Budget,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Its lines name addresses with their query, where a careless sender may have put its token.
        self.logger = logging.getLogger("services.streams.uvicorn")
        self.logger.setLevel(logging.WARNING)
        self.conn.logger = self.logger
        self.close_timeout = CLOSE_SECONDS
        self._lease = budget.lease()
        self._sizes: deque[int] = deque()
        self._asked = False
        self._deaf = False
        self._heard = 0.0
        self._abort: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what of it is not a message yet or waits to be taken."""
        if self._deaf:
            return
        self._heard = self.loop.time()
        super().data_received(data)
        if not self._deaf:
            self._count()

    def send_receive_event_to_app(self) -> None:
        """Queue a complete message."""
        size = sum(len(fragment) for fragment in self.frames)
        waiting = self.queue.qsize()
        super().send_receive_event_to_app()
        if self.queue.qsize() > waiting:
            self._sizes.append(size)

    def handle_cont(self, event: Frame) -> None:
        """Take one more fragment."""
        if len(self.frames) >= MOST_FRAGMENTS:
            self.conn.fail(1008, f"over {MOST_FRAGMENTS} fragments in a message")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        """Close after what breaks the framing or its limits, and throw away what still comes."""
        closing = self.conn.close_sent
        code, reason = (1006, "") if closing is None else (closing.code, closing.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._hear_no_more()
        self._read_on()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        """The peer does not read: then nothing of it is read either, not even pings, whose answers would pile up."""
        super().pause_writing()
        self._hold_back()

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        if self._asked:
            self._read_on()

    def keepalive_timeout(self) -> None:
        """No pong in time: the end, unless the peer could not be heard, or was."""
        if self.read_paused or self._heard > self.ping_sent_at:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self._abort_soon()

    async def run_asgi(self) -> None:
        """Run the application for this connection; once it has ended, so has the connection, flushed or not."""
        await super().run_asgi()
        if not self.close_sent:
            self._hear_no_more()
        self._abort_soon()

    def shutdown(self) -> None:
        """The server stops."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        self.stop_keepalive()
        self._hold_back()
        self._ask_to_end(RESTARTING, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        super().connection_lost(exc)
        self._hear_no_more()
        if self._abort is not None:
            self._abort.cancel()

    async def receive(self) -> Any:
        """The next event; only now is the socket read, where none waits."""
        if self.queue.empty():
            self._asked = True
            self._read_on()
        try:
            message = await self.queue.get()
        finally:
            self._asked = False
        if message["type"] == "websocket.receive" and self._sizes:
            self._sizes.popleft()
            self._count()
        return message

    def _count(self) -> None:
        unread = len(self.conn.reader.buffer) + sum(len(part) for part in self.frames) + sum(self._sizes)
        try:
            self._lease.hold(unread)
        except Problem as problem:
            self._hear_no_more()
            self._hold_back()
            self._ask_to_end(TRY_LATER, problem)

    def _abort_soon(self) -> None:
        """A peer that reads nothing would keep a closing socket, and what is to be written to it, for ever."""
        if self._abort is None and not self.disconnected:
            self._abort = self.loop.call_later(2 * CLOSE_SECONDS, self.transport.abort)

    def _ask_to_end(self, code: int, problem: Problem | None) -> None:
        event: Any = {"type": ENDING, "code": code, "problem": problem}
        self.queue.put_nowait(event)

    def _hear_no_more(self) -> None:
        """From now on what comes is thrown away."""
        self._deaf = True
        self._lease.release()
        self.frames = []
        self.conn.reader.buffer.clear()

    def _hold_back(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self.read_paused and self.writable.is_set() and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()
