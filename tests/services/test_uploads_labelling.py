"""PUT /v1/images/{id}/label: whose label it is to put right, what a label may be, and under which key it is sealed."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import httpx
import pytest

from resources.postgres import StatusRow
from services.door.logs import JsonLines
from services.door.problems import Kind, Problem
from services.uploads.labelling import LARGEST_BODY
from tests.services.test_uploads_asking import DAY, developed, sent
from tests.services.uploading import NOON, Bench, assert_problem, picture
from transforms.envelope import clear_of
from transforms.messages import Correction, open_correction
from transforms.names import pseudonym


async def put(
    bench: Bench, client: httpx.AsyncClient, id: str, body: Any, subject: str = "ada", **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.put(f"/v1/images/{id}/label", content=content, headers=bench.authorised(subject, **headers))


def correction(bench: Bench, number: int = -1) -> Correction:
    """A record of the stream as the training set reads it."""
    key, value, headers = bench.stream.records[number]
    clear = clear_of(headers)
    assert clear is not None and key == clear.id.encode()
    return open_correction(clear, value, bench.keys.open_key(clear.key))


def key_named(bench: Bench, number: int = -1) -> str:
    clear = clear_of(bench.stream.records[number][2])
    assert clear is not None
    return clear.key


def test_its_uploader_puts_a_label_right_and_it_is_sealed_under_the_images_own_key(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        answer = await put(bench, client, id, {"label": " Sieben  "})
        assert answer.status_code == 202
        assert answer.json() == {"id": id, "topic": "images.labels", "partition": 2, "offset": 1}
        assert correction(bench) == Correction(id, DAY, "Sieben", NOON)
        assert key_named(bench) == key_named(bench, 0), "the key that sealed the image"
        assert b"Sieben" not in bench.stream.records[-1][1]
        # The same again is one record more, and says the same.
        again = await put(bench, client, id, {"label": "Sieben"})
        assert (again.status_code, correction(bench).label) == (202, "Sieben")

    bench.run(scene)
    assert bench.stream.topics == ["images.raw", "images.labels", "images.labels"]


@pytest.mark.parametrize("state", ["landed", "quarantined", "processed"])
def test_an_image_may_be_labelled_wherever_it_is(bench: Bench, state: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        reason = "truncated" if state == "quarantined" else None
        bench.states.rows[id] = StatusRow(id, DAY, name, state, reason, NOON)
        assert (await put(bench, client, id, {"label": "7"})).status_code == 202

    bench.run(scene)


def test_somebody_elses_image_cannot_be_told_from_one_that_does_not_exist(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        answers = [await put(bench, client, asked, {"label": "7"}, "mallory") for asked in (id, "a" * 26, "not-an-id")]
        documents = [assert_problem(answer, 404, "not_found") for answer in answers]
        assert len({document["detail"] for document in documents}) == 1

    bench.run(scene)
    assert len(bench.stream.records) == 1, "only the image"


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "malformed", "cannot be read as JSON"),
        (b"7", 400, "bad_parameter", "something else was wanted"),
        (b"label=7", 400, "malformed", '{"label": "7"}'),
        (b'{"label": "7', 400, "malformed", "cannot be read as JSON"),
        (b'{"label": "\xff"}', 400, "malformed", "UTF-8"),
        (b'{"label": "7", "label": "8"}', 400, "malformed", "cannot be read as JSON"),
        (b"[" * 5000, 400, "malformed", "cannot be read as JSON"),
        (["7"], 400, "bad_parameter", "something else was wanted"),
        ({}, 400, "bad_parameter", '{"label": "7"}'),
        ({"label": "7", "by": "me"}, 400, "bad_parameter", "nothing else"),
        ({"label": 7}, 400, "bad_parameter", "in quotes"),
        ({"label": None}, 400, "bad_parameter", "no text"),
        ({"label": "  "}, 400, "bad_parameter", "empty"),
        ({"label": "x" * 257}, 400, "bad_parameter", "257 characters"),
        ({"label": "7\n8"}, 400, "bad_parameter", "line break"),
        ({"label": "\ud800"}, 400, "bad_parameter", "control character"),
        (b" " * (LARGEST_BODY + 1), 413, "body_too_large", f"{LARGEST_BODY} bytes"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_each_wrong_body_is_refused_with_what_is_wrong_with_it(
    bench: Bench, body: Any, status: int, code: str, says: str
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        document = assert_problem(await put(bench, client, id, body), status, code)
        assert says in str(document["detail"])

    bench.run(scene)
    assert len(bench.stream.records) == 1


def test_a_label_of_exactly_256_characters_beyond_ascii_is_taken(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        label = "\N{SNOWMAN}" * 255 + "\N{GRINNING FACE}"
        assert (await put(bench, client, id, {"label": label})).status_code == 202
        assert correction(bench).label == label

    bench.run(scene)


def test_after_the_erasure_of_a_persons_day_no_word_of_an_image_of_it_comes_back(bench: Bench) -> None:
    """Bug prevented: the current key of that day is a new one after an erasure, and would open what it seals."""

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        developed(bench, id)
        bench.keys.destroy_key(key_named(bench), "test")
        assert_problem(await put(bench, client, id, {"label": "7"}), 410, "key_destroyed")
        # One that was never developed, and one that was sent again since and has another key in the stream alone.
        del bench.states.rows[id]
        await client.post("/v1/images", content=picture(1), headers=bench.authorised())
        waiting = bench.opened()[0]
        assert_problem(await put(bench, client, waiting, {"label": "7"}), 410, "key_destroyed")

    bench.run(scene)
    assert set(bench.stream.topics) == {"images.raw"}


def test_an_image_sent_after_an_erasure_is_labelled_under_its_own_key_once_it_is_developed(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        await sent(bench, client)
        bench.keys.destroy_key(key_named(bench), "test")
        answer = await client.post("/v1/images", content=picture(1), headers=bench.authorised())
        id, sealed_with = answer.json()["id"], key_named(bench)
        assert developed(bench, id).name == sealed_with
        assert (await put(bench, client, id, {"label": "7"})).status_code == 202
        assert key_named(bench) == sealed_with

    bench.run(scene)


def test_a_row_of_another_uploader_lends_no_key(bench: Bench) -> None:
    """An unsealed record may give any id, so that a row of it may name a key that is not this uploader's."""

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        own = key_named(bench)
        bench.keys.destroy_key(own, "test")
        developed(bench, id, "")
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        bench.states.rows[id] = StatusRow(id, DAY, name, "processed", None, NOON)
        assert_problem(await put(bench, client, id, {"label": "7"}), 410, "key_destroyed")

    bench.run(scene)


@pytest.mark.parametrize("what", ["day", "image"])
def test_what_was_erased_by_day_or_one_by_one_is_gone_here_too(bench: Bench, what: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        if what == "day":
            bench.keys.destroy_day(DAY, "test")
        else:
            bench.keys.mark_erased(DAY, id, "test")
        assert_problem(await put(bench, client, id, {"label": "7"}), 410, "key_destroyed")

    bench.run(scene)
    assert bench.stream.topics == ["images.raw"]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_while_kafka_is_away_the_answer_is_503_in_words_about_the_label(bench: Bench, when: str) -> None:
    away = Problem(Kind.KAFKA_AWAY, "an image's words", retry_after=5, log="no broker")

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        if when == "at once":
            bench.stream.refusal = away
        else:
            real = bench.stream.submit

            def failing(*given: Any) -> Any:
                bench.stream.held = []
                future = real(*given)
                future.set_exception(away)
                return future

            bench.stream.submit = failing  # type: ignore[method-assign]
        answer = await put(bench, client, id, {"label": "7"})
        document = assert_problem(answer, 503, "kafka_away")
        assert answer.headers["retry-after"] == "5"
        assert document["detail"] == (
            "Kafka did not acknowledge the label in time. Send it again: the last one counts."
        )

    bench.run(scene)


def test_while_the_key_store_is_away_nothing_is_taken(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        os.rename(bench.settings.keys_root, f"{bench.settings.keys_root}-away")
        answer = await put(bench, client, id, {"label": "7"})
        assert_problem(answer, 503, "keys_away")

    bench.run(scene)


def test_without_a_good_token_nothing_is_taken(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.put(f"/v1/images/{'a' * 26}/label", content=b'{"label": "7"}')
        assert_problem(answer, 401, "unauthenticated")

    bench.run(scene)


def test_labels_are_counted_and_neither_counters_nor_log_hold_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        await put(bench, client, id, {"label": "seven-of-nine"})
        await put(bench, client, id, {"label": "seven-of-nine\n"})
        await put(bench, client, id, {"label": "seven-of-nine"}, "mallory")
        counters = (await client.get("/metrics")).text
        for outcome, count in (("accepted", 1), ("bad_parameter", 1), ("not_found", 1)):
            assert f'darkroom_uploads_labels_total{{outcome="{outcome}"}} {float(count)}' in counters
        assert 'method="PUT",route="/v1/images/{id}/label",status="202"' in counters
        lines = [JsonLines().format(record) for record in caplog.records]
        assert any('"status": 202' in line for line in lines)
        for secret in (id, "seven-of-nine", "mallory"):
            assert not [text for text in (counters, *lines) if secret in text and "httpx" not in text]

    bench.run(scene)


def test_openapi_describes_the_body_and_every_refusal(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        document = (await client.get("/openapi.json")).json()
        described = document["paths"]["/v1/images/{id}/label"]["put"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        assert (schema["required"], schema["additionalProperties"]) == (["label"], False)
        assert set(described["responses"]) >= {"202", "400", "401", "404", "408", "410", "413", "503"}
        assert described["security"] == [{"HTTPBearer": []}]
        answered = described["responses"]["202"]["content"]["application/json"]["schema"]["$ref"]
        assert answered.endswith("/AcceptedLabel")

    bench.run(scene)
