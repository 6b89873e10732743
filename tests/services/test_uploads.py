"""POST /v1/images: what is taken, what is refused, and what the stream then holds."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from services.door.edge import LINGER_BYTES
from services.door.problems import Kind, Problem
from tests.services.uploading import LIMIT, NOON, Bench, assert_problem, picture


def test_an_image_is_sealed_with_what_its_uploader_said_and_answered_with_where_the_broker_keeps_it(
    bench: Bench,
) -> None:
    image = picture(1)

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", content=image, headers=bench.authorised(X_Label="seven"))
        assert answer.status_code == 201
        id, day, metadata, opened = bench.opened()
        assert answer.json() == {
            "id": id,
            "bytes": len(image),
            "day": "2026-03-14",
            "topic": "images.raw",
            "partition": 2,
            "offset": 0,
        }
        assert answer.headers["location"] == f"/v1/images/{id}"
        assert (day, opened) == (date(2026, 3, 14), image)
        assert metadata.sha256 == hashlib.sha256(image).hexdigest()
        assert (metadata.label, metadata.uploader, metadata.groups) == ("seven", "ada", ("image-uploaders",))
        assert (metadata.content_type, metadata.filename, metadata.uploaded_at) == ("image/png", None, NOON)

    bench.run(scene)
    _, value, headers = bench.stream.records[0]
    assert not any(word in value + repr(headers).encode() for word in (b"ada", b"seven", image[:16]))


def test_no_answer_is_given_before_the_broker_acknowledged(bench: Bench) -> None:
    bench.stream.held = []

    async def scene(client: httpx.AsyncClient) -> None:
        sending = asyncio.create_task(client.post("/v1/images", content=picture(), headers=bench.authorised()))
        while not bench.stream.held:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not sending.done()
        from services.door.delivery import Delivery

        bench.stream.held[0].set_result(Delivery("images.raw", 0, 41))
        assert (await sending).json()["offset"] == 41

    bench.run(scene)


def test_a_resend_within_the_day_has_the_same_id_and_another_uploader_has_another(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        async def id_for(subject: str) -> str:
            return (await client.post("/v1/images", content=picture(), headers=bench.authorised(subject))).json()["id"]

        first = await id_for("ada")
        assert await id_for("ada") == first
        assert await id_for("bob") != first
        bench.clock.instant = NOON + timedelta(days=1)
        assert await id_for("ada") != first

    bench.run(scene)


def test_a_resend_after_midnight_that_repeats_its_first_time_keeps_its_day_and_id(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        first = await client.post("/v1/images", content=picture(), headers=bench.authorised())
        bench.clock.instant = NOON + timedelta(hours=20)
        again = await client.post(
            "/v1/images", content=picture(), headers=bench.authorised(X_Uploaded_At="2026-03-14T13:00:00.5+01:00")
        )
        assert again.json()["id"] == first.json()["id"]
        assert again.json()["day"] == "2026-03-14"

    bench.run(scene)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("2026-03-13T11:59:59Z", "24 hours"),
        ("2026-03-14T12:05:01Z", "ahead"),
        ("2026-03-14T11:00:00", "zone"),
        ("yesterday", "RFC 3339"),
        ("2026-02-30T11:00:00Z", "calendar"),
    ],
)
def test_an_upload_time_that_cannot_be_is_refused(bench: Bench, given: str, says: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", content=picture(), headers=bench.authorised(X_Uploaded_At=given))
        assert says in str(assert_problem(answer, 400, "bad_parameter")["detail"])

    bench.run(scene)
    assert bench.stream.records == []


@pytest.mark.parametrize("label", [b"x" * 257, b"two\tparts", b"\x7f", b"\xff\xfe", "line\u2028end".encode()])
def test_a_label_that_is_no_line_of_text_is_refused(bench: Bench, label: bytes) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        headers = [
            *((name.encode(), value.encode()) for name, value in bench.authorised().items()),
            (b"X-Label", label),
        ]
        answer = await client.post("/v1/images", content=picture(), headers=headers)
        assert_problem(answer, 400, "bad_parameter")

    bench.run(scene)


def test_a_label_travels_as_utf_8(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        headers = [*((name.encode(), value.encode()) for name, value in bench.authorised().items())]
        sent = await client.post(
            "/v1/images", content=picture(), headers=[*headers, (b"X-Label", " Größe 七 ".encode())]
        )
        assert sent.status_code == 201
        assert bench.opened()[2].label == "Größe 七"

    bench.run(scene)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
        ("BMP", "image/bmp"),
        ("GIF", "image/gif"),
    ],
)
def test_the_six_formats_are_known_by_their_bytes_and_not_by_their_name(
    bench: Bench, form: str, content_type: str
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        file = {"file": ("page.html", picture(5, form), "text/html")}
        answer = await client.post("/v1/images", files=file, headers=bench.authorised())
        assert answer.status_code == 201
        assert bench.opened()[2].content_type == content_type
        assert bench.opened()[2].filename == "page.html"

    bench.run(scene)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty"),
        (b"%PDF-1.7\n%...", 415, "not_an_image"),
        (b"<!doctype html><title>BM</title>", 415, "not_an_image"),
        (b"BMW is no bitmap, whatever it begins with", 415, "not_an_image"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", 415, "not_an_image"),
        (b"\x00\x00\x00\x1cftypheic\x00\x00", 415, "unsupported_format"),
        (b"\xff\xd8", 415, "not_an_image"),
    ],
)
def test_what_is_no_image_is_refused_by_content_whatever_type_is_declared(
    bench: Bench, body: bytes, status: int, code: str
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        headers = bench.authorised(Content_Type="image/jpeg")
        assert_problem(await client.post("/v1/images", content=body, headers=headers), status, code)

    bench.run(scene)
    assert bench.stream.records == []


def test_an_image_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(bench: Bench) -> None:
    exact = picture().ljust(LIMIT, b"\0")

    async def scene(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/images", content=exact, headers=bench.authorised())).status_code == 201
        answer = await client.post("/v1/images", content=exact + b"\0", headers=bench.authorised())
        assert_problem(answer, 413, "too_large")

    bench.run(scene)
    assert len(bench.stream.records) == 1


@pytest.mark.parametrize("announced", [None, "100"])
def test_a_body_without_end_is_refused_while_it_is_read(bench: Bench, announced: str | None) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield picture()
        while taken < 64 * LINGER_BYTES:
            taken += LIMIT
            yield bytes(LIMIT)

    async def scene(client: httpx.AsyncClient) -> None:
        headers = bench.authorised(**({} if announced is None else {"Content_Length": announced}))
        answer = await client.post("/v1/images", content=endless(), headers=headers)
        assert_problem(answer, 413, "too_large")
        assert answer.headers["connection"] == "close"

    bench.run(scene)
    assert taken <= LIMIT * 3 + LINGER_BYTES


def test_an_announced_size_over_the_limit_is_refused_before_the_body_is_read(bench: Bench) -> None:
    bench.stream.refusal = AssertionError("nothing may come here")  # type: ignore[assignment]

    async def scene(client: httpx.AsyncClient) -> None:
        async def never() -> AsyncIterator[bytes]:
            await asyncio.sleep(60)
            yield b""

        headers = bench.authorised(Content_Length=str(LIMIT + 1))
        answer = await asyncio.wait_for(client.post("/v1/images", content=never(), headers=headers), 10)
        assert_problem(answer, 413, "too_large")

    bench.run(scene)


@pytest.mark.parametrize(
    "refusal",
    [
        Problem(Kind.KAFKA_AWAY, "gone", retry_after=5, log="secret reason"),
        Problem(Kind.BUSY, "full", retry_after=5),
    ],
)
def test_without_kafka_an_image_is_not_taken_and_the_sender_told_to_come_again(bench: Bench, refusal: Problem) -> None:
    bench.stream.refusal = refusal

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", content=picture(), headers=bench.authorised())
        assert_problem(answer, 503, refusal.kind.code)
        assert answer.headers["retry-after"] == "5"
        assert "secret reason" not in answer.text

    bench.run(scene)
    assert bench.states.rows == {}


def test_a_record_that_the_broker_did_not_acknowledge_is_no_accepted_image(bench: Bench) -> None:
    bench.stream.held = []

    async def scene(client: httpx.AsyncClient) -> None:
        sending = asyncio.create_task(client.post("/v1/images", content=picture(), headers=bench.authorised()))
        while not bench.stream.held:
            await asyncio.sleep(0.01)
        bench.stream.held[0].set_exception(Problem(Kind.KAFKA_AWAY, "timed out", retry_after=5))
        assert_problem(await sending, 503, "kafka_away")

    bench.run(scene)
    assert bench.states.rows == {}


def test_without_the_key_store_nothing_is_taken_unsealed(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        keys = Path(bench.settings.keys_root)
        keys.rename(keys.with_name("elsewhere"))
        answer = await client.post("/v1/images", content=picture(), headers=bench.authorised())
        assert_problem(answer, 503, "keys_away")
        assert int(answer.headers["retry-after"]) > 0
        keys.with_name("elsewhere").rename(keys)
        assert (await client.post("/v1/images", content=picture(), headers=bench.authorised())).status_code == 201

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_a_destroyed_day_takes_no_image_any_more(bench: Bench) -> None:
    bench.keys.destroy_day(NOON.date(), "test")

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", content=picture(), headers=bench.authorised())
        assert_problem(answer, 410, "day_destroyed")

    bench.run(scene)
    assert bench.stream.records == []


def test_without_postgresql_images_are_still_taken(bench: Bench) -> None:
    bench.states.away = True

    async def scene(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/images", content=picture(), headers=bench.authorised())).status_code == 201

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_memory_is_bounded_by_refusing_bodies_that_do_not_fit(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        slow = asyncio.Event()

        async def dawdling() -> AsyncIterator[bytes]:
            yield picture().ljust(40_000, b"\0")
            await slow.wait()

        first = asyncio.create_task(client.post("/v1/images", content=dawdling(), headers=bench.authorised()))
        await asyncio.sleep(0.2)
        body = picture().ljust(40_000, b"\0")
        answer = await client.post("/v1/images", content=body, headers=bench.authorised())
        assert_problem(answer, 503, "busy")
        slow.set()
        assert (await first).status_code == 201
        assert (await client.post("/v1/images", content=body, headers=bench.authorised())).status_code == 201

    bench.run(scene, held_bytes=LIMIT)


def test_what_is_under_way_is_flushed_when_the_application_ends(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        await client.post("/v1/images", content=picture(), headers=bench.authorised())

    bench.run(scene)
    assert bench.stream.closed
    assert [row.state for row in bench.states.rows.values()] == ["accepted"]
