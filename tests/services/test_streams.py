"""/v1/stream: what is taken, what is refused, how a connection ends, and what the topic then holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.door.delivery import Delivery
from services.door.problems import Kind, Problem
from tests.services.streaming import StreamBench, assert_refused, give, told
from tests.services.uploading import LIMIT, NOON, picture


@pytest.fixture
def bench(tmp_path: Path) -> StreamBench:
    return StreamBench(tmp_path)


async def ended(socket: ClientConnection) -> int | None:
    """The code with which the server closed, after whatever it still said."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await socket.recv()
    return None if caught.value.rcvd is None else caught.value.rcvd.code


def test_an_image_is_sealed_with_what_was_said_and_answered_with_where_the_broker_keeps_it(bench: StreamBench) -> None:
    image = picture(1)

    async def scene() -> None:
        async with bench.connect() as socket:
            digest = hashlib.sha256(image).hexdigest()
            await give(socket, 7, image, label="seven", filename="../7.png", sha256=digest)
            answer = await told(socket)
            id, day, metadata, opened = bench.opened()
            assert answer == {
                "seq": 7,
                "id": id,
                "bytes": len(image),
                "day": "2026-03-14",
                "topic": "images.raw",
                "partition": 2,
                "offset": 0,
            }
            assert (day, opened) == (date(2026, 3, 14), image)
            assert (metadata.label, metadata.filename, metadata.uploader) == ("seven", "7.png", "ada")
            assert (metadata.groups, metadata.uploaded_at) == (("image-uploaders",), NOON)

    bench.run(scene)
    assert dict(bench.stream.records[0][2])["via"] in (b"streams", "streams")
    assert [row.state for row in bench.states.rows.values()] == ["accepted"]


def test_both_doors_make_the_same_id_of_the_same_image(bench: StreamBench) -> None:
    from tests.services.uploading import Bench

    async def scene() -> None:
        async with bench.connect() as socket:
            bench.clock.instant = NOON + timedelta(hours=20)
            await give(socket, 0, picture(), uploaded_at=NOON.isoformat())
            answer = await told(socket)
            async with Bench.serving(bench) as client:
                bench.clock.instant = NOON
                uploaded = await client.post("/v1/images", content=picture(), headers=bench.authorised())
            assert (answer["id"], answer["day"]) == (uploaded.json()["id"], "2026-03-14")

    bench.run(scene)


def test_answers_come_in_the_order_of_the_brokers_acknowledgements_and_not_before_them(bench: StreamBench) -> None:
    bench.stream.held = []

    async def scene() -> None:
        async with bench.connect() as socket:
            for seq in (1, 2, 5):
                await give(socket, seq, picture(seq))
                while len(bench.stream.held or []) < min(seq, 3):
                    await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.2)
            for number, offset in ((2, 40), (0, 41), (1, 42)):
                bench.stream.held[number].set_result(Delivery("images.raw", 0, offset))
                assert (await told(socket))["offset"] == offset

    bench.run(scene)


@pytest.mark.parametrize(
    ("image", "metadata", "status", "code"),
    [
        (b"", {}, 400, "empty"),
        (b"%PDF-1.7\n%...", {}, 415, "not_an_image"),
        (picture(), {"label": "x" * 257}, 400, "bad_parameter"),
        (picture(), {"label": "two\nlines"}, 400, "bad_parameter"),
        (picture(), {"uploaded_at": "yesterday"}, 400, "bad_parameter"),
        (picture(), {"uploaded_at": "2026-03-13T11:59:59Z"}, 400, "bad_parameter"),
        (picture(), {"sha256": "0" * 64}, 400, "bad_parameter"),
        (picture().ljust(LIMIT + 1, b"\0"), {}, 413, "too_large"),
    ],
)
def test_a_refused_image_is_answered_by_its_seq_and_the_next_one_is_taken(
    bench: StreamBench, image: bytes, metadata: dict[str, Any], status: int, code: str
) -> None:
    async def scene() -> None:
        async with bench.connect() as socket:
            await give(socket, 3, image, **metadata)
            assert_refused(await told(socket), status, code, 3)
            await give(socket, 4, picture())
            assert (await told(socket))["seq"] == 4

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_without_kafka_or_keys_each_image_is_refused_and_the_connection_stays(bench: StreamBench) -> None:
    async def scene() -> None:
        async with bench.connect() as socket:
            bench.stream.refusal = Problem(Kind.KAFKA_AWAY, "gone", retry_after=5, log="secret reason")
            await give(socket, 0, picture())
            document = assert_refused(await told(socket), 503, "kafka_away", 0)
            assert document["retry_after"] == 5 and "secret" not in json.dumps(document)
            bench.stream.refusal = None
            keys = Path(bench.settings.keys_root)
            keys.rename(keys.with_name("elsewhere"))
            await give(socket, 1, picture())
            assert_refused(await told(socket), 503, "keys_away", 1)
            keys.with_name("elsewhere").rename(keys)
            await give(socket, 2, picture())
            assert (await told(socket))["seq"] == 2

    bench.run(scene)


@pytest.mark.parametrize(
    ("frames", "code", "says"),
    [
        ([picture()], 1002, "without metadata"),
        (['{"seq": 1}', '{"seq": 2}'], 1002, "image of seq 1 was due"),
        (['{"seq": 1}', picture(), '{"seq": 1}'], 1002, "1 after 1"),
        (['{"seq": 9}', picture(), '{"seq": 8}'], 1002, "8 after 9"),
        (["seven"], 1003, "no JSON"),
        (["[1]"], 1003, "no JSON object"),
        (["[" * 15_000], 1003, "no JSON"),
        (["{}"], 1003, "whole number"),
        (['{"seq": 1.0}'], 1003, "whole number"),
        (['{"seq": true}'], 1003, "whole number"),
        (['{"seq": -1}'], 1003, "whole number"),
        (['{"seq": 9007199254740992}'], 1003, "whole number"),
        (['{"seq": 1, "lable": "7"}'], 1003, "lable"),
        (['{"seq": 1, "label": 7}'], 1003, "label is no text"),
        (['{"seq": 1, "sha256": "abc"}'], 1003, "64 hexadecimal"),
        (['{"seq": 1, "seq": 2}'], 1003, "twice"),
        (['{"seq": 1, "label": "' + "x" * 17_000 + '"}'], 1003, "at most"),
    ],
)
def test_a_frame_that_breaks_the_protocol_is_named_and_ends_the_connection(
    bench: StreamBench, frames: list[str | bytes], code: int, says: str
) -> None:
    async def scene() -> None:
        async with bench.connect() as socket:
            for frame in frames:
                await socket.send(frame)
            while "seq" in (last := await told(socket)):
                pass
            assert says in assert_refused(last, 400, "malformed")["detail"]
            assert await ended(socket) == code

    bench.run(scene)
    assert len(bench.stream.records) == len([f for f in frames[:-1] if isinstance(f, bytes)])


@pytest.mark.parametrize(
    "headers",
    [
        lambda bench: {},
        lambda bench: {"Authorization": "Bearer nonsense"},
        lambda bench: {"Authorization": "Basic YWRhOmFkYQ=="},
        lambda bench: {"X-User": "ada"},
        lambda bench: {"Authorization": "Bearer " + expired(bench)},
    ],
    ids=["none", "garbage", "another scheme", "a header of one's own", "expired"],
)
def test_without_a_good_token_the_handshake_is_an_answer_401(
    bench: StreamBench, headers: Callable[[StreamBench], dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with bench.connect(additional_headers=headers(bench)):
                pass
        answer = caught.value.response
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["x-content-type-options"] == "nosniff"
        document = json.loads(answer.body)
        assert document["type"] == "urn:darkroom:problem:unauthenticated"
        assert document["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
        assert document["detail"] == "Send a token of the issuer as `Authorization: Bearer <token>`."

    bench.run(scene)
    assert [record for record in caplog.records if getattr(record, "fields", {}).get("why")]


def expired(bench: StreamBench) -> str:
    from access.signer import Signer

    return Signer(
        bench.settings.home / "secrets" / "signer.key",
        bench.settings.jwks_path,
        bench.settings.token_issuer,
        bench.settings.token_audience,
        now=lambda: datetime.now(UTC) - timedelta(hours=2),
    ).token("ada", [])


def test_no_image_is_taken_after_the_token_has_expired_and_what_was_before_is_answered(bench: StreamBench) -> None:
    bench.stream.held = []

    async def scene() -> None:
        async with bench.connect() as socket:
            await give(socket, 0, picture())
            while not bench.stream.held:
                await asyncio.sleep(0.01)
            bench.clock.instant = datetime.now(UTC) + timedelta(hours=1, seconds=1)
            await give(socket, 1, picture(1))
            bench.stream.held[0].set_result(Delivery("images.raw", 0, 5))
            assert (await told(socket))["offset"] == 5
            assert_refused(await told(socket), 401, "unauthenticated")
            assert await ended(socket) == 4401

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_a_connection_too_many_is_an_answer_503_until_another_one_ends(tmp_path: Path) -> None:
    bench = StreamBench(tmp_path, stream_connections=2)

    async def scene() -> None:
        async with bench.connect(), bench.connect():
            with pytest.raises(InvalidStatus) as caught:
                async with bench.connect():
                    pass
            answer = caught.value.response
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert json.loads(answer.body)["type"] == "urn:darkroom:problem:busy"
        async with bench.connect() as socket:
            await give(socket, 0, picture())
            assert (await told(socket))["seq"] == 0

    bench.run(scene)


def test_a_connection_that_brings_nothing_is_closed(bench: StreamBench) -> None:
    bench.limit(idle_seconds=0.3)

    async def scene() -> None:
        async with bench.connect() as socket:
            assert_refused(await told(socket), 408, "too_slow")
            assert await ended(socket) == 1001

    bench.run(scene)


def test_a_stop_answers_what_is_under_way_and_closes_with_1012(bench: StreamBench) -> None:
    bench.stream.held = []

    async def scene() -> None:
        async with bench.connect() as socket:
            await give(socket, 0, picture())
            while not bench.stream.held:
                await asyncio.sleep(0.01)
            bench.server.should_exit = True
            await asyncio.sleep(0.3)
            bench.stream.held[0].set_result(Delivery("images.raw", 0, 5))
            assert (await told(socket))["offset"] == 5
            assert await ended(socket) == 1012

    bench.run(scene)
    assert bench.stream.closed
    assert [row.state for row in bench.states.rows.values()] == ["accepted"]


def test_health_and_counters_are_as_at_the_other_door_and_hold_no_name_token_or_id(
    bench: StreamBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept: list[str] = []

    async def scene() -> None:
        async with bench.connect(), bench.connect("grace-hopper") as socket:
            await give(socket, 0, picture(), label="very-private")
            kept.append((await told(socket))["id"])
            await give(socket, 1, b"%PDF-1.7")
            await told(socket)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bench.port}") as client:
                assert (await client.get("/healthz")).json() == {"status": "ok"}
                assert (await client.get("/readyz")).json()["ready"] is True
                text = (await client.get("/metrics")).text
                assert (await client.get("/v1/stream")).status_code == 404
        assert 'darkroom_streams_images_total{outcome="accepted"} 1.0' in text
        assert 'darkroom_streams_images_total{outcome="not_an_image"} 1.0' in text
        assert "darkroom_streams_open_connections 2.0" in text
        kept.append(text)

    bench.run(scene)
    lines = [json.dumps(getattr(record, "fields", {})) + record.getMessage() for record in caplog.records]
    said = "\n".join([*lines, kept[1]])
    assert '"images": 2' in said
    assert not any(word in said for word in ("grace-hopper", "very-private", kept[0], "Bearer", "eyJ"))


def test_a_failure_nobody_foresaw_is_answered_without_its_trace_and_the_connection_stays(
    bench: StreamBench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(key: bytes, value: bytes, headers: object) -> None:
        raise ZeroDivisionError("the inside of the house")

    whole, bench.stream.submit = bench.stream.submit, broken  # type: ignore[method-assign, assignment]

    async def scene() -> None:
        async with bench.connect() as socket:
            await give(socket, 0, picture())
            assert "inside" not in str(assert_refused(await told(socket), 500, "internal", 0))
            bench.stream.submit = whole  # type: ignore[method-assign]
            await give(socket, 1, picture())
            assert (await told(socket))["seq"] == 1

    bench.run(scene)
    assert "inside of the house" in str([getattr(record, "fields", {}) for record in caplog.records])
