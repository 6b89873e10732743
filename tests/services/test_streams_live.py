"""The stream application on the running stack: over TLS, with the real Kafka, PostgreSQL and key store, and killed."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil
import pytest
from deltalake.exceptions import TableNotFoundError
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Opcode

from cli.by_stream import ByStream
from cli.dataset import MemoryItem
from cli.sender import Sender, Sending
from cli.sending import Summary
from cli.sent import Sent
from cli.ways import Item
from stack.service_names import STREAMS
from tests.live_stack import LiveStack
from tests.services.live import ids_between, picture, record_at, until
from tests.services.streaming import RawClient, announcing, give, told
from transforms.envelope import clear_of

pytestmark = pytest.mark.stack


@pytest.fixture
def headers(stack: LiveStack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.token(f'live-{uuid.uuid4().hex[:8]}')}"}


@pytest.fixture
def trust(stack: LiveStack) -> ssl.SSLContext:
    return stack.as_gateway()


def direct(stack: LiveStack) -> str:
    """The address of one instance, which a test may watch or kill."""
    return stack.status()["services"]["streams-1"]["url"].replace("https://", "wss://") + "/v1/stream"


def joined(stack: LiveStack, headers: dict[str, str], trust: ssl.SSLContext) -> connect:
    return connect(direct(stack), additional_headers=headers, ssl=trust, proxy=None, ping_timeout=None)


def test_what_came_by_stream_is_in_kafka_and_known_to_the_upload_instances(
    stack: LiveStack, headers: dict[str, str], trust: ssl.SSLContext
) -> None:
    image = picture()

    async def scene() -> dict[str, Any]:
        async with joined(stack, headers, trust) as socket:
            await give(socket, 0, image, label="very-private")
            return await told(socket)

    answer = asyncio.run(scene())
    message = record_at(stack, answer)
    clear, value = clear_of(message.headers()), message.value()
    assert clear is not None and value is not None
    assert (clear.id, clear.day.isoformat(), clear.via) == (answer["id"], answer["day"], "streams")
    assert image[:32] not in value and b"very-private" not in value
    for url in stack.instances:
        state = httpx.get(f"{url}/v1/images/{answer['id']}", headers=headers, verify=trust, timeout=30)
        assert state.json()["state"] in {"accepted", "landed", "processed"}


def test_only_tls_with_a_token_of_the_issuer_is_spoken(stack: LiveStack, trust: ssl.SSLContext) -> None:
    async def scene() -> None:
        with pytest.raises(InvalidStatus, match="401"):
            async with joined(stack, {"Authorization": "Bearer x"}, trust):
                pass
        with pytest.raises(ssl.SSLCertVerificationError):
            async with joined(stack, {}, ssl.create_default_context()):
                pass
        plain = direct(stack).replace("wss://", "ws://")
        with pytest.raises((OSError, EOFError, InvalidHandshake)):
            async with connect(plain, proxy=None, open_timeout=5):
                pass

    asyncio.run(scene())


@pytest.mark.alone
def test_five_hundred_idle_sockets_are_cheap_and_one_more_still_works(
    stack: LiveStack, headers: dict[str, str], trust: ssl.SSLContext
) -> None:
    process = psutil.Process(stack.pid("streams-1"))
    url = direct(stack)

    def idle() -> connect:
        return connect(url, additional_headers=headers, ssl=trust, proxy=None, ping_timeout=None)

    async def scene() -> None:
        async with AsyncExitStack() as sockets:
            before = process.memory_info().rss
            for _ in range(20):
                opening = (sockets.enter_async_context(idle()) for _ in range(25))
                await asyncio.gather(*opening)
            after = process.memory_info().rss
            spent, started = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(1)
            share = (sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - started)
            async with joined(stack, headers, trust) as socket:
                await give(socket, 0, picture())
                assert (await told(socket))["seq"] == 0
            print(f"500 idle: {(after - before) / 500 / 1024:.0f} KiB each, {share:.1%} of a core")
            assert after - before < 500 * 200 * 1024
            assert share < 0.25

    asyncio.run(scene())


@pytest.mark.alone
def test_a_frame_of_two_gigabytes_takes_no_memory_and_is_refused_at_its_header(
    stack: LiveStack, headers: dict[str, str], trust: ssl.SSLContext
) -> None:
    process = psutil.Process(stack.pid("streams-1"))

    async def scene() -> None:
        before = process.memory_info().rss
        async with RawClient(direct(stack), headers, trust) as client:
            client.frame(Opcode.TEXT, b'{"seq": 0}')
            client.writer.write(announcing(2**31))
            closed = asyncio.create_task(client.close_code())
            for _ in range(16):
                client.writer.write(bytes(512 * 1024))
                await asyncio.sleep(0.01)
            assert await closed == 1009
        assert process.memory_info().rss - before < 32 * 1024 * 1024

    asyncio.run(scene())


@pytest.mark.alone
def test_while_the_broker_hangs_the_senders_send_blocks_and_all_is_acknowledged_after(
    stack: LiveStack, headers: dict[str, str], trust: ssl.SSLContext
) -> None:
    """Over TLS and by the server's own event loop, which the tests without a stack have not."""
    door, broker = psutil.Process(stack.pid("streams-1")), psutil.Process(stack.pid("kafka"))
    sent = 0

    async def scene() -> None:
        nonlocal sent
        async with joined(stack, headers, trust) as socket:
            await give(socket, 0, picture())
            assert "id" in await told(socket)
            before = door.memory_info().rss
            # A JPEG's first bytes and noise: taken by the door, and quarantined without much work.
            images = [b"\xff\xd8\xff\xe0" + os.urandom(100_000) for _ in range(600)]

            async def send() -> None:
                nonlocal sent
                for seq, image in enumerate(images, 1):
                    await give(socket, seq, image)
                    sent = seq

            broker.suspend()
            try:
                sending = asyncio.create_task(send())
                stuck = -1
                while stuck != sent or sent < 256:
                    stuck = sent
                    await asyncio.sleep(1)
                assert not sending.done() and sent < 600
                assert door.memory_info().rss - before < 160 * 1024 * 1024
            finally:
                broker.resume()
            assert sorted([(await told(socket))["seq"] for _ in images]) == list(range(1, 601))
            await sending

    asyncio.run(asyncio.wait_for(scene(), 60))
    stack.wait_healthy("kafka", "streams-1")


@pytest.mark.slow
def test_a_kill_while_sending_loses_nothing_acknowledged_and_a_resend_adds_no_row(
    stack: LiveStack, tmp_path: Path
) -> None:
    uploader = f"killed-{uuid.uuid4().hex[:8]}"
    token = stack.token(uploader)
    trust = ssl.create_default_context(cafile=stack.ca)
    items: list[Item] = [MemoryItem(f"{i}.png", picture(), None, f"{i}.png") for i in range(300)]
    summary, killed = Summary(results=[]), asyncio.Event()

    def report(result: Any) -> None:
        summary.add(result)
        if summary.new == 100 and not killed.is_set():
            killed.set()
            for name in STREAMS:
                stack.kill(name)

    async def send(notebook: str) -> None:
        way = ByStream(trust)
        with Sent(tmp_path / notebook) as sent:
            how = Sending(uploader, lambda refused: token, concurrency=32)
            await Sender([stack.stream_url], way, sent, how).send(items, report)
        await way.close()

    asyncio.run(send("first"))
    assert killed.is_set() and summary.new == 300
    # Another machine that knows nothing of the first: everything once more.
    asyncio.run(send("second"))
    answers = [vars(result.receipt) for result in summary.results or () if result.receipt is not None]
    assert len(answers) == 600 and len({answer["id"] for answer in answers}) == 300
    found = ids_between(stack, answers)
    assert all(found.get((one["partition"], one["offset"])) == one["id"] for one in answers)
    ids = {answer["id"] for answer in answers}
    kept = sum(id in ids for id in found.values())
    assert kept >= 600
    lake = stack.status()["lake"]["root"]

    def rows(table: str) -> int:
        try:
            return pl.scan_delta(f"{lake}/images/{table}").filter(pl.col("id").is_in(list(ids))).collect().height
        except TableNotFoundError:  # it is made by the first run
            return 0

    until(lambda: rows("processed_images") >= 300)
    assert rows("processed_images") == 300
    stack.wait_healthy(*STREAMS)
