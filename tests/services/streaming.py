"""The stream application under the real uvicorn and real frames, with stand-ins only where another server would be."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from resources.settings import Settings
from services.door.wiring import Edges
from services.streams.app import create_app, server_options
from services.streams.session import Limits
from tests.services.uploading import Bench

Frame = dict[str, Any]


class StreamBench(Bench):
    """One application, served on loopback, and everything around it."""

    limits = Limits()
    port = 0
    server: uvicorn.Server

    def __init__(self, home: Path, **settings: Any) -> None:
        super().__init__(home)
        self.settings = self.settings.model_copy(update=settings)

    def limit(self, **limits: Any) -> None:
        self.limits = replace(self.limits, **limits)

    def stream_edges(self, settings: Settings) -> Edges:
        return Edges(self.keys, self.stream, self.states, self.verifier, self.answers)

    @asynccontextmanager
    async def listening(self, held_bytes: int = 1024 * 1024) -> AsyncIterator[None]:
        app = create_app(
            self.settings, edges=self.stream_edges, now=self.clock, held_bytes=held_bytes, limits=self.limits
        )
        self.budget = app.state.budget
        options = {"http": "httptools", "log_config": None, "timeout_graceful_shutdown": 5}
        config = uvicorn.Config(app, **options, **server_options(app, self.settings))
        self.server = uvicorn.Server(config)
        with socket.socket() as listener:
            # Small buffers of the system, so that a peer who does not read is felt after kilobytes.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            serving = asyncio.create_task(self.server._serve([listener]))
            while not self.server.started:
                await asyncio.sleep(0.01)
            try:
                yield
            finally:
                self.server.should_exit = True
                await serving

    def raw(self, socket: Any = None) -> RawClient:
        return RawClient(f"ws://127.0.0.1:{self.port}/v1/stream", self.authorised(), socket=socket)

    def connect(self, subject: str = "ada", path: str = "/v1/stream", **options: Any) -> connect:
        options = {"additional_headers": self.authorised(subject), "proxy": None, "compression": None, **options}
        return connect(f"ws://127.0.0.1:{self.port}{path}", **options)

    def run(  # type: ignore[override]
        self, scene: Callable[[], Awaitable[None]], held_bytes: int = 1024 * 1024
    ) -> None:
        """Play a scene against the listening application; 30 seconds at most."""

        async def play() -> None:
            async with self.listening(held_bytes), asyncio.timeout(30):
                await scene()

        asyncio.run(play())


async def give(socket: ClientConnection, seq: int, image: bytes, **metadata: Any) -> None:
    await socket.send(json.dumps({"seq": seq, **metadata}))
    await socket.send(image)


async def told(socket: ClientConnection) -> Frame:
    return json.loads(await socket.recv())


def assert_refused(frame: Frame, status: int, code: str, seq: int | None = None) -> Frame:
    """The frame is this problem, whole. Returns the document."""
    document = frame["problem"]
    assert set(frame) == ({"problem"} if seq is None else {"seq", "problem"})
    assert frame.get("seq") == seq
    assert (document["status"], document["type"]) == (status, f"urn:darkroom:problem:{code}")
    assert document["title"] and document["detail"] and document["instance"].startswith("urn:uuid:")
    return document


class RawClient:
    """A client that speaks bytes, and so may do what no library lets it.

    Args:
        url: ws:// or wss://.
        headers: of the handshake.
        trust: for wss.
        socket: connected already, where its buffers matter.
    """

    def __init__(
        self, url: str, headers: dict[str, str], trust: ssl.SSLContext | None = None, socket: Any = None
    ) -> None:
        self._url = urlsplit(url)
        self._headers = headers
        self._how: dict[str, Any] = {"ssl": trust, "limit": 1024}
        if socket is None:
            self._how |= {"host": self._url.hostname, "port": self._url.port}
        else:
            self._how |= {"sock": socket}

    async def __aenter__(self) -> RawClient:
        self.reader, self.writer = await asyncio.open_connection(**self._how)
        lines = [
            f"GET {self._url.path} HTTP/1.1",
            f"Host: {self._url.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
            *(f"{name}: {value}" for name, value in self._headers.items()),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await self.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def give(self, seq: int, image: bytes) -> None:
        """Write an image; what does not fit the socket waits here, in memory."""
        self.frame(Opcode.TEXT, json.dumps({"seq": seq}).encode())
        self.frame(Opcode.BINARY, image)

    def frame(self, opcode: Opcode, data: bytes, fin: bool = True) -> None:
        self.writer.write(frame_bytes(opcode, data, fin))

    async def close_code(self, seconds: float = 10) -> int:
        """Read answers until the server's close frame; its code."""
        parser = ClientProtocol(parse_uri("ws://raw.test/"), state=State.OPEN, max_size=None)
        async with asyncio.timeout(seconds):
            while data := await self.reader.read(65536):
                parser.receive_data(data)
                if parser.close_rcvd is not None:
                    return parser.close_rcvd.code
        raise AssertionError("the server ended the connection without a close frame")


def frame_bytes(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    """A frame as a client writes it."""
    return WebSocketFrame(opcode, data, fin).serialize(mask=True)


def announcing(size: int) -> bytes:
    """The header of a binary frame of `size` bytes, which need not follow."""
    return struct.pack("!BBQ4s", 0x82, 0x80 | 127, size, b"\0\0\0\0")
