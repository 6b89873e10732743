"""The stream application under the real uvicorn and real frames, with stand-ins only where another server would be."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

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
        return Edges(self.keys, self.stream, self.states, self.verifier)

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

    def connect(self, subject: str = "ada", **options: Any) -> connect:
        options = {"additional_headers": self.authorised(subject), "proxy": None, "compression": None, **options}
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream", **options)

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
