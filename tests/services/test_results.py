"""/v1/results: what models name the images of one uploader, pushed to that uploader and nobody else."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resources.key_objects import KeyUnavailable
from tests.services.answering import DAY, answer, key_of
from tests.services.streaming import StreamBench, assert_refused, told
from tests.services.uploading import NOON

IDS = ["a" * 26, "b" * 26, "c" * 26]
RESULTS = "/v1/results"


@pytest.fixture
def bench(tmp_path: Path) -> StreamBench:
    return StreamBench(tmp_path)


async def settled() -> None:
    """Until the server has taken up what a handshake began."""
    await asyncio.sleep(0.2)


def test_each_uploader_is_told_of_own_images_as_they_are_named(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.connect("ada", RESULTS) as ada, bench.connect("bob", RESULTS) as bob:
            await settled()
            yesterday = DAY - timedelta(days=1)
            bench.answers.put(answer(bench, IDS[0], "7"))
            bench.answers.put(answer(bench, IDS[1], "3", subject="bob"))
            bench.answers.put(answer(bench, IDS[2], "9", day=yesterday))
            first, second = await told(ada), await told(ada)
            assert first == {
                "id": IDS[0],
                "day": "2026-03-14",
                "model": "digits",
                "model_version": "1@abcdef01",
                "label": "7",
                "probability": 0.75,
                "scored_at": "2026-03-14T12:00:00Z",
                "topic": "images.raw",
                "partition": 2,
                "offset": 0,
            }
            assert (second["id"], second["day"]) == (IDS[2], "2026-03-13")
            assert (await told(bob))["label"] == "3"
            for socket in (ada, bob):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(socket.recv(), 0.2)

    bench.run(scene)


def test_nobody_listens_without_a_token(bench: StreamBench) -> None:
    async def scene() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with bench.connect(path=RESULTS, additional_headers={}):
                pass
        assert refused.value.response.status_code == 401

    bench.run(scene)


def test_the_end_of_the_token_ends_the_connection(bench: StreamBench) -> None:
    async def scene() -> None:
        bench.clock.instant = NOON
        async with bench.connect(path=RESULTS) as socket:
            await settled()
        bench.clock.instant = NOON + timedelta(days=40000)
        async with bench.connect(path=RESULTS) as socket:
            assert_refused(await told(socket), 401, "unauthenticated")
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 4401

    bench.run(scene)


@pytest.mark.parametrize("frame", ["{}", b"\x89PNG"])
def test_whatever_is_sent_there_ends_the_connection_with_a_sentence(bench: StreamBench, frame: str | bytes) -> None:
    async def scene() -> None:
        async with bench.connect(path=RESULTS) as socket:
            await socket.send(frame)
            document = assert_refused(await told(socket), 400, "malformed")
            assert "/v1/stream" in document["detail"]

    bench.run(scene)


def test_what_a_destroyed_key_hides_is_not_told_and_ends_nothing(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.connect(path=RESULTS) as socket:
            await settled()
            dark = answer(bench, IDS[0], "7")
            bench.keys.destroy_key(key_of(bench).name, who="ada")
            bench.answers.put(dark)
            bench.answers.put(answer(bench, IDS[1], "8"))
            assert (await told(socket))["label"] == "8"

    bench.run(scene)


def test_a_key_store_that_is_away_ends_the_connection_which_may_come_again(
    bench: StreamBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str) -> None:
        raise KeyUnavailable("the disk is away")

    async def scene() -> None:
        async with bench.connect(path=RESULTS) as socket:
            await settled()
            sealed = answer(bench, IDS[0], "7")
            monkeypatch.setattr(bench.keys, "open_key", away)
            bench.answers.put(sealed)
            assert_refused(await told(socket), 503, "keys_away")
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 1013

    bench.run(scene)


def test_a_stop_of_the_server_is_said(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.connect(path=RESULTS) as socket:
            await settled()
            bench.server.should_exit = True
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 1012

    bench.run(scene)


def test_no_label_id_or_name_is_logged(bench: StreamBench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene() -> None:
        async with bench.connect("grace-hopper", RESULTS) as socket:
            await settled()
            bench.answers.put(answer(bench, IDS[0], "very-secret-label", subject="grace-hopper"))
            assert (await told(socket))["label"] == "very-secret-label"
        await settled()

    bench.run(scene)
    ours = [record for record in caplog.records if not record.name.startswith(("websockets", "asyncio"))]
    text = "\n".join(f"{record.getMessage()} {json.dumps(getattr(record, 'fields', {}))}" for record in ours)
    assert "/v1/results" in text and '"answers": 1' in text
    for secret in ("grace-hopper", "very-secret-label", IDS[0]):
        assert secret not in text
