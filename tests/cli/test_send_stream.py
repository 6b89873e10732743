"""The sender by stream, against a door that fails as it can: what is acknowledged is kept, the rest is resent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from cli.by_stream import ByStream
from cli.dataset import MemoryItem
from cli.sender import Outcome, Sender, Sending, TokenRefusedByDoor
from cli.sending import Summary
from cli.sent import Sent
from cli.ways import Item
from tests.services.streaming import StreamBench

Answering = Callable[[ServerConnection, "Taken"], Awaitable[None]]


@dataclass(frozen=True)
class Taken:
    """One image as the door got it."""

    seq: int
    said: dict[str, Any]
    image: bytes
    token: str


@dataclass
class StandIn:
    """A door of `/v1/stream`: `answer` is called with each image; tokens in `refused` get 401."""

    answer: Answering
    refused: set[str] = field(default_factory=set)
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0

    async def handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        assert connection.request is not None
        token = connection.request.headers["Authorization"].removeprefix("Bearer ")
        async for frame in connection:
            said = json.loads(frame)
            image = await connection.recv()
            assert isinstance(image, bytes)
            one = Taken(said.pop("seq"), said, image, token)
            self.taken.append(one)
            await self.answer(connection, one)

    def check(self, connection: ServerConnection, request: Any) -> Any:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.refused:
            return connection.respond(HTTPStatus.UNAUTHORIZED, '{"detail": "Send a token."}')
        return None


async def acknowledge(connection: ServerConnection, one: Taken) -> None:
    where = {"id": sha256(one.image).hexdigest()[:26], "day": "2026-03-14", "topic": "t", "partition": 0, "offset": 1}
    await connection.send(json.dumps({"seq": one.seq, "bytes": len(one.image), **where}))


async def refuse(connection: ServerConnection, one: Taken, status: int, **more: Any) -> None:
    problem = {"type": "x", "title": "t", "status": status, "detail": "no good", **more}
    await connection.send(json.dumps({"seq": one.seq, "problem": problem}))


def images(count: int, size: int = 0) -> list[Item]:
    return [MemoryItem(f"{i}.png", (b"image %d" % i).ljust(size, b"."), "7", f"{i}.png") for i in range(count)]


def send(path: Path, door: StandIn, items: list[Item], token=lambda refused: "good", **how: Any) -> Summary:
    summary = Summary(results=[])

    async def run() -> None:
        async with serve(door.handle, "127.0.0.1", 0, process_request=door.check, max_size=1000) as server:
            port = server.sockets[0].getsockname()[1]
            way = ByStream(None)
            try:
                with Sent(path / "sent.sqlite") as sent:
                    sender = Sender([f"ws://127.0.0.1:{port}/v1/stream"], way, sent, Sending("ada", token, **how))
                    await asyncio.wait_for(sender.send(items, summary.add), 20)
            finally:
                await way.close()

    asyncio.run(run())
    return summary


def test_everything_goes_over_one_connection_with_its_words_and_a_second_run_sends_nothing(tmp_path: Path) -> None:
    door = StandIn(acknowledge)
    assert send(tmp_path, door, images(50)).new == 50
    assert (door.connections, len(door.taken)) == (1, 50)
    first = next(one for one in door.taken if one.image == b"image 0")
    assert (first.said["label"], first.said["filename"]) == ("7", "0.png")
    assert first.said["sha256"] == sha256(b"image 0").hexdigest()
    assert [one.seq for one in door.taken] == list(range(50))
    assert send(tmp_path, door, images(50)).sentence() == "0 new, 50 acknowledged before"


def test_what_a_broken_connection_left_unanswered_is_resent_with_its_first_time(tmp_path: Path) -> None:
    async def break_once(connection: ServerConnection, one: Taken) -> None:
        if len(door.taken) == 5:
            connection.transport.abort()
        elif len(door.taken) < 3 or len(door.taken) > 5:
            await acknowledge(connection, one)

    door = StandIn(break_once)
    summary = send(tmp_path, door, images(20))
    assert summary.new == 20
    assert door.connections == 2
    times: dict[bytes, set[str]] = {}
    for one in door.taken:
        times.setdefault(one.image, set()).add(one.said["uploaded_at"])
    assert len(door.taken) > 20
    assert all(len(seen) == 1 for seen in times.values()), "a resend with another time may be another image"


def test_a_busy_answer_is_tried_again_and_a_refusal_is_told_in_the_doors_words(tmp_path: Path) -> None:
    async def judge(connection: ServerConnection, one: Taken) -> None:
        if one.image == b"image 1":
            await refuse(connection, one, 415)
        elif one.image == b"image 2" and sum(taken.image == one.image for taken in door.taken) == 1:
            await refuse(connection, one, 503, retry_after=0)
        else:
            await acknowledge(connection, one)

    door = StandIn(judge)
    summary = send(tmp_path, door, images(4))
    assert (summary.new, summary.resends) == (3, 1)
    assert [(result.item.name, result.status, result.detail) for result in summary.unsent] == [
        ("1.png", 415, "no good")
    ]
    assert door.connections == 1


def test_an_image_that_ends_every_connection_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    door = StandIn(acknowledge)
    items = [*images(3), MemoryItem("big.png", b"b" * 2000, None, None), *images(6)[3:]]
    summary = send(tmp_path, door, items)
    assert summary.new == 6
    assert [(result.item.name, result.status) for result in summary.unsent] == [("big.png", 413)]


def test_a_new_token_makes_a_new_connection_and_one_refused_twice_ends_the_run(tmp_path: Path) -> None:
    tokens = iter(["one"] * 10 + ["two"] * 100)
    door = StandIn(acknowledge)
    assert send(tmp_path, door, images(20), token=lambda refused: next(tokens), concurrency=2).new == 20
    assert {one.token for one in door.taken} == {"one", "two"}
    assert door.connections == 2
    door.refused = {"good"}
    with pytest.raises(TokenRefusedByDoor, match="a new one too: Send a token"):
        send(tmp_path, door, images(21))


def test_the_sender_and_the_door_understand_each_other(tmp_path: Path) -> None:
    from tests.services.uploading import picture

    bench, summary = StreamBench(tmp_path / "door"), Summary(results=[])
    items: list[Item] = [MemoryItem(f"{i}.png", picture(i), str(i), f"{i}.png") for i in range(40)]
    items += [MemoryItem("page.png", b"%PDF-1.7", None, None), MemoryItem("empty.png", b"", None, None)]

    async def scene() -> None:
        way = ByStream(None)
        with Sent(tmp_path / "sent.sqlite") as sent:
            token = bench.authorised()["Authorization"].removeprefix("Bearer ")
            how = Sending("ada", lambda refused: token)
            how.now = bench.clock
            await Sender([f"ws://127.0.0.1:{bench.port}/v1/stream"], way, sent, how).send(items, summary.add)
        await way.close()

    bench.run(scene)
    assert summary.new == 40
    assert sorted((result.outcome, result.status) for result in summary.unsent) == [
        (Outcome.REFUSED, 400),
        (Outcome.REFUSED, 415),
    ]
    opened = [bench.opened(number) for number in range(40)]
    assert {(metadata.label, metadata.filename, image) for _, _, metadata, image in opened} == {
        (str(i), f"{i}.png", picture(i)) for i in range(40)
    }
