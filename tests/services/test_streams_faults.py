"""What hostile or broken senders do to /v1/stream: held back, cut off or thrown away, with memory bounded."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from websockets.frames import Opcode

from services.door.delivery import Delivery
from tests.services.streaming import RawClient, StreamBench, announcing, assert_refused, frame_bytes, give, told
from tests.services.uploading import LIMIT, picture


@pytest.fixture
def bench(tmp_path: Path) -> StreamBench:
    return StreamBench(tmp_path)


async def until(said: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not said():
            await asyncio.sleep(0.02)


async def open_connections(bench: StreamBench) -> int:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{bench.port}/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("darkroom_streams_open_connections ")]
    return int(float(line.split()[1]))


async def nobody_left(bench: StreamBench) -> None:
    async with asyncio.timeout(10):
        while await open_connections(bench):
            await asyncio.sleep(0.05)
    await until(lambda: bench.budget.held == 0)


def release(held: list[Future[Delivery]]) -> None:
    """Acknowledge everything from now on, and all that was held back."""
    for number, future in enumerate(held):
        if not future.done():
            future.set_result(Delivery("images.raw", 0, number))


def test_with_its_window_full_the_server_stops_reading_and_the_senders_send_blocks(bench: StreamBench) -> None:
    bench.limit(images=4)
    bench.stream.held = held = []
    image = picture().ljust(60_000, b"\0")
    sent = 0

    async def scene() -> None:
        async with bench.connect(ping_interval=None) as client:

            async def send_all() -> None:
                nonlocal sent
                for seq in range(150):
                    await give(client, seq, image)
                    sent += 1

            sending = asyncio.create_task(send_all())
            await until(lambda: len(held) == 4)
            await asyncio.sleep(0.5)
            stuck = sent
            await asyncio.sleep(0.5)
            assert not sending.done()
            assert (len(held), sent) == (4, stuck), "it was read from although four images wait"
            # What lies between the two is in the system's buffers; the server holds its window and less than a frame.
            assert bench.budget.held < 6 * len(image)
            bench.stream.held = None
            release(held)
            assert sorted([(await told(client))["seq"] for _ in range(150)]) == list(range(150))
            await sending

    bench.run(scene, held_bytes=16 * 1024 * 1024)


def test_bytes_of_a_connection_are_bounded_as_images_are(bench: StreamBench) -> None:
    bench.limit(bytes=150_000)
    bench.stream.held = held = []

    async def scene() -> None:
        async with bench.connect() as client:
            for seq in range(3):
                await give(client, seq, picture().ljust(60_000, b"\0"))
            await give(client, 3, picture())
            await until(lambda: len(held) == 3)
            await asyncio.sleep(0.3)
            assert len(held) == 3
            release(held)
            bench.stream.held = None
            assert sorted([(await told(client))["seq"] for _ in range(4)]) == [0, 1, 2, 3]

    bench.run(scene)


def test_a_client_that_never_reads_its_answers_is_not_read_from_and_then_cut_off(bench: StreamBench) -> None:
    bench.limit(images=32, send_seconds=1.0)

    async def scene() -> None:
        thin = socket.socket()
        thin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        thin.connect(("127.0.0.1", bench.port))
        thin.setblocking(False)
        async with bench.raw(thin) as client:
            for seq in range(20_000):
                client.give(seq, picture())
            await until(lambda: len(bench.stream.records) > 100)
            await nobody_left(bench)
        taken = len(bench.stream.records)
        assert taken < 10_000, "it went on taking images whose answers nobody read"
        async with bench.connect() as another:
            await give(another, 0, picture())
            assert (await told(another))["seq"] == 0

    bench.run(scene)


def test_a_client_that_pings_without_end_and_reads_no_pong_is_not_read_from(bench: StreamBench) -> None:
    async def scene() -> None:
        thin = socket.socket()
        thin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        thin.connect(("127.0.0.1", bench.port))
        thin.setblocking(False)
        async with bench.raw(thin) as client:
            ping = frame_bytes(Opcode.PING, b"x" * 125) * 1000
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    for _ in range(1000):
                        client.writer.write(ping)
                        await client.writer.drain()

    bench.run(scene)


def test_a_frame_of_two_gigabytes_is_refused_at_its_header(bench: StreamBench) -> None:
    highest = 0

    async def scene() -> None:
        nonlocal highest
        async with bench.raw() as client:
            client.frame(Opcode.TEXT, b'{"seq": 0}')
            client.writer.write(announcing(2**31))
            closed = asyncio.create_task(client.close_code())
            for _ in range(64):
                client.writer.write(bytes(65536))
                await asyncio.sleep(0.005)
                highest = max(highest, bench.budget.held)
            assert await closed == 1009
        await nobody_left(bench)

    bench.run(scene)
    assert highest <= 256 * 1024
    assert bench.stream.records == []


def test_a_message_of_fragments_is_one_image_and_a_flood_of_them_is_none(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.connect() as client:
            await client.send('{"seq": 0}')
            await client.send([picture()[:10], picture()[10:20], picture()[20:]])
            assert (await told(client))["seq"] == 0
        async with bench.raw() as client:
            client.frame(Opcode.TEXT, b'{"seq": 0}')
            client.frame(Opcode.BINARY, b"", fin=False)
            for _ in range(2000):
                client.frame(Opcode.CONT, b"", fin=False)
            assert await client.close_code() == 1008
        async with bench.raw() as client:
            client.frame(Opcode.TEXT, b'{"seq": 0}')
            for _ in range(3):
                client.frame(Opcode.BINARY, bytes(LIMIT // 2), fin=False)
            assert await client.close_code() == 1002, "a message within a message"
        async with bench.raw() as client:
            client.frame(Opcode.TEXT, b'{"seq": 0}')
            client.frame(Opcode.BINARY, bytes(LIMIT // 2), fin=False)
            client.frame(Opcode.CONT, bytes(LIMIT), fin=False)
            assert await client.close_code() == 1009

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_a_socket_cut_in_the_middle_of_a_frame_leaves_nothing_behind(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.raw() as client:
            client.give(0, picture())
            await until(lambda: len(bench.stream.records) == 1)
            client.frame(Opcode.TEXT, b'{"seq": 1}')
            client.writer.write(announcing(LIMIT) + picture())
            await until(lambda: bench.budget.held > 0)
        await nobody_left(bench)

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_frames_that_are_not_complete_count_against_the_budget_of_all_and_the_last_one_is_sent_away(
    bench: StreamBench,
) -> None:
    async def scene() -> None:
        async with bench.raw() as first, bench.connect() as second:
            first.frame(Opcode.TEXT, b'{"seq": 0}')
            first.writer.write(announcing(LIMIT) + bytes(50_000))
            await until(lambda: bench.budget.held >= 50_000)
            await give(second, 0, picture().ljust(60_000, b"\0"))
            while "seq" in (last := await told(second)):
                pass
            document = assert_refused(last, 503, "busy")
            assert document["retry_after"] > 0
            await second.wait_closed()
            assert second.close_code == 1013
            first.writer.write(bytes(LIMIT - 50_000))
            await until(lambda: bench.budget.held == 0)

    bench.run(scene, held_bytes=LIMIT + 4096)


def test_a_sender_that_is_held_back_keeps_its_connection_and_one_that_is_gone_does_not(
    bench: StreamBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing is read no pong can be heard: ended for that, a sender would be cut off whenever Kafka is slow."""
    monkeypatch.setattr("services.streams.app.PING_SECONDS", 0.2)
    bench.limit(images=1)
    bench.stream.held = held = []

    async def scene() -> None:
        async with bench.connect(ping_interval=None) as client, bench.raw() as silent:
            await give(client, 0, picture())
            await give(client, 1, picture(1))
            await until(lambda: len(held) == 1)
            assert await silent.close_code() == 1011
            await asyncio.sleep(1)
            release(held)
            bench.stream.held = None
            assert [(await told(client))["seq"] for _ in range(2)] == [0, 1]

    bench.run(scene)


def test_images_whose_sender_left_are_kept_and_their_room_is_given_back(bench: StreamBench) -> None:
    bench.stream.held = held = []

    async def scene() -> None:
        async with bench.raw() as client:
            for seq in range(5):
                client.give(seq, picture(seq))
            await until(lambda: len(held) == 5)
        release(held)
        await nobody_left(bench)

    bench.run(scene)
    assert len(bench.states.rows) == 5


def test_frames_sent_before_the_handshake_is_answered_are_not_taken(bench: StreamBench) -> None:
    async def scene() -> None:
        with pytest.raises(AssertionError, match="401"):
            async with RawClient(f"ws://127.0.0.1:{bench.port}/v1/stream?access_token=secret", {}) as client:
                client.give(0, picture())
        assert json.dumps(bench.stream.records) == "[]"

    bench.run(scene)
