"""Who may ask what: tokens, states, thumbnails, readiness, counters, and what may never be in a log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from access.signer import Signer
from resources.lake import open_lake
from resources.postgres import StatusRow
from services.door.logs import JsonLines
from services.door.problems import Kind, Problem
from tests.services.uploading import NOON, Bench, assert_problem, picture
from transforms.envelope import DataKey, pseudonym, seal_field
from transforms.reasons import Reason
from transforms.tables import PROCESSED_IMAGES

DAY = NOON.date()
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 a thumbnail"


async def sent(bench: Bench, client: httpx.AsyncClient, subject: str = "ada") -> str:
    answer = await client.post("/v1/images", content=picture(), headers=bench.authorised(subject))
    assert answer.status_code == 201
    return answer.json()["id"]


def developed(bench: Bench, id: str, subject: str = "ada", column: str = "thumbnail", row_day: date = DAY) -> DataKey:
    """Put the row that developing would write into a real table, and its state beside it."""
    name = pseudonym(bench.keys.platform_secret(), subject, DAY)
    key = bench.keys.current_key(DAY, name)
    sealed = seal_field(WEBP, table=PROCESSED_IMAGES.name, column=column, id=id, day=DAY, key=key, nonce=os.urandom(12))
    known = {"id": id, "day": row_day, "pseudonym": name, "key": key.name, "thumbnail": sealed, "format": "PNG"}
    row = {}
    for column_spec in PROCESSED_IMAGES.schema:
        blank = {pa.string(): "", pa.int64(): 1, pa.int32(): 1, pa.float64(): 0.0}.get(column_spec.type, NOON)
        row[column_spec.name] = known.get(column_spec.name, None if column_spec.nullable else blank)
    lake = open_lake(bench.settings)
    handle = lake.ensure(PROCESSED_IMAGES)
    lake.append(handle, PROCESSED_IMAGES, pa.Table.from_pylist([row], PROCESSED_IMAGES.schema))
    bench.states.rows[id] = StatusRow(id, DAY, name, "processed", None, NOON)
    return key


def issued_by(bench: Bench, home: Path, **other: str) -> str:
    named = {"issuer": bench.settings.token_issuer, "audience": bench.settings.token_audience, **other}
    signer = Signer(home / "k", home / "j", **named)
    signer.initialise()
    return signer.token("ada", ["image-uploaders"])


@pytest.mark.parametrize(
    "header",
    [
        lambda bench, home: {},
        lambda bench, home: {"Authorization": "Bearer nonsense"},
        lambda bench, home: {"Authorization": "Basic YWRhOmFkYQ=="},
        lambda bench, home: {"Authorization": "Bearer " + issued_by(bench, home)},
        lambda bench, home: {"X-User": "ada"},
        lambda bench, home: {
            "Authorization": "Bearer "
            + Signer(
                bench.settings.home / "secrets" / "signer.key",
                bench.settings.jwks_path,
                bench.settings.token_issuer,
                bench.settings.token_audience,
                now=lambda: datetime.now(UTC) - timedelta(hours=2),
            ).token("ada", [])
        },
    ],
    ids=["none", "garbage", "another scheme", "another signer", "a header of one's own", "expired"],
)
@pytest.mark.parametrize("call", [("POST", "/v1/images"), ("GET", "/v1/images/" + "a" * 26)])
def test_without_a_good_token_nothing_is_taken_or_told_and_why_is_for_the_log_alone(
    bench: Bench,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    header: Callable[[Bench, Path], dict[str, str]],
    call: tuple[str, str],
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        headers = header(bench, tmp_path / "other")
        answer = await client.request(*call, headers=headers, content=picture() if call[0] == "POST" else None)
        document = assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert document["detail"] == "Send a token of the issuer as `Authorization: Bearer <token>`."

    bench.run(scene)
    assert bench.stream.records == []
    assert [record for record in caplog.records if getattr(record, "fields", {}).get("why")]


def test_while_the_issuers_keys_cannot_be_read_every_token_is_answered_503(bench: Bench) -> None:
    headers = bench.authorised()
    bench.settings.jwks_path.unlink()

    async def scene(client: httpx.AsyncClient) -> None:
        assert_problem(await client.post("/v1/images", content=picture(), headers=headers), 503, "tokens_away")
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert "jwks.json" in ready.json()["checks"]["tokens"]

    bench.run(scene)


def test_an_uploader_who_asks_before_the_state_is_written_finds_the_image_accepted(bench: Bench) -> None:
    written = threading.Event()

    def slowly(rows: object) -> None:
        written.wait(10)

    bench.states.put_many = slowly  # type: ignore[method-assign]

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        answer = await client.get(f"/v1/images/{id}", headers=bench.authorised())
        assert answer.status_code == 200
        document = answer.json()
        assert (document["id"], document["day"], document["state"]) == (id, "2026-03-14", "accepted")
        assert document["detail"] == "Kafka keeps the image; it waits to be landed."
        assert document["links"] == {"self": f"/v1/images/{id}"}
        assert datetime.fromisoformat(document["updated_at"]) == NOON
        written.set()

    bench.run(scene)


def test_a_quarantined_image_is_told_with_its_reason_and_the_reasons_sentence(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        bench.states.rows[id] = StatusRow(id, DAY, name, "quarantined", "truncated", NOON)
        document = (await client.get(f"/v1/images/{id}", headers=bench.authorised())).json()
        assert (document["state"], document["reason"]) == ("quarantined", "truncated")
        assert document["detail"] == Reason.TRUNCATED.sentence

    bench.run(scene)


def test_somebody_elses_image_cannot_be_told_from_one_that_does_not_exist(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        developed(bench, id)
        for path in ("", "/thumbnail"):
            answers = [
                await client.get(f"/v1/images/{asked}{path}", headers=bench.authorised("mallory"))
                for asked in (id, "a" * 26, "not-an-id")
            ]
            documents = [assert_problem(answer, 404, "not_found") for answer in answers]
            assert len({document["detail"] for document in documents}) == 1

    bench.run(scene)


def test_where_an_image_is_cannot_be_told_while_postgresql_is_away(bench: Bench) -> None:
    bench.states.away = True

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/v1/images/{'a' * 26}", headers=bench.authorised())
        assert_problem(answer, 503, "status_away")
        assert answer.headers["retry-after"] == "5"

    bench.run(scene)


def test_a_thumbnail_is_opened_for_its_uploader_and_kept_by_no_cache(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        assert_problem(await client.get(f"/v1/images/{id}/thumbnail", headers=bench.authorised()), 404, "not_found")
        developed(bench, id)
        links = (await client.get(f"/v1/images/{id}", headers=bench.authorised())).json()["links"]
        answer = await client.get(links["thumbnail"], headers=bench.authorised())
        assert answer.status_code == 200
        assert (answer.headers["content-type"], answer.content) == ("image/webp", WEBP)
        assert answer.headers["cache-control"] == "private, no-store"

    bench.run(scene)


def test_a_thumbnail_written_after_the_first_question_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.uploads.lake_rows.FRESH_SECONDS", 0.0)

    async def scene(client: httpx.AsyncClient) -> None:
        first, second = await sent(bench, client), await sent(bench, client, "bob")
        developed(bench, first)
        asked = await client.get(f"/v1/images/{first}/thumbnail", headers=bench.authorised())
        assert asked.status_code == 200
        developed(bench, second, "bob")
        asked = await client.get(f"/v1/images/{second}/thumbnail", headers=bench.authorised("bob"))
        assert asked.status_code == 200

    bench.run(scene)


def test_a_thumbnail_is_found_though_the_lake_is_asked_all_the_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug prevented: each question put the next look at the table off, so that a poller kept everyone from new rows."""
    monkeypatch.setattr("services.uploads.lake_rows.FRESH_SECONDS", 0.3)

    async def scene(client: httpx.AsyncClient) -> None:
        first, second = await sent(bench, client), await sent(bench, client, "bob")
        developed(bench, first)
        await client.get(f"/v1/images/{first}/thumbnail", headers=bench.authorised())
        developed(bench, second, "bob")
        async with asyncio.timeout(10):
            while (
                await client.get(f"/v1/images/{second}/thumbnail", headers=bench.authorised("bob"))
            ).status_code == 404:
                await asyncio.sleep(0.05)

    bench.run(scene)


def test_a_thumbnail_is_found_and_opened_though_its_record_was_appended_days_off_its_day(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        developed(bench, id, row_day=DAY + timedelta(days=3))
        answer = await client.get(f"/v1/images/{id}/thumbnail", headers=bench.authorised())
        assert (answer.status_code, answer.content) == (200, WEBP)

    bench.run(scene)


def test_once_its_key_is_destroyed_a_thumbnail_is_gone(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        bench.keys.destroy_key(developed(bench, id).name, "test")
        answer = await client.get(f"/v1/images/{id}/thumbnail", headers=bench.authorised())
        assert_problem(answer, 410, "key_destroyed")

    bench.run(scene)


def test_a_thumbnail_sealed_for_another_place_is_not_shown(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        developed(bench, id, column="label")
        answer = await client.get(f"/v1/images/{id}/thumbnail", headers=bench.authorised())
        assert_problem(answer, 500, "internal")

    bench.run(scene)


def test_readiness_names_what_is_missing_and_postgresql_is_not_needed(bench: Bench) -> None:
    bench.states.away = True

    async def scene(client: httpx.AsyncClient) -> None:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert ready.json()["checks"]["postgres"] != "ok"

    async def without_kafka(client: httpx.AsyncClient) -> None:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        wrong = {name for name, answer in ready.json()["checks"].items() if answer != "ok"}
        assert wrong == {"kafka", "postgres"}
        assert (await client.get("/healthz")).status_code == 200

    bench.run(scene)
    bench.stream.refusal = Problem(Kind.KAFKA_AWAY, "gone", log="no broker")
    bench.run(without_kafka)


def test_neither_counters_nor_log_hold_a_name_a_token_or_an_id(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen: list[str] = []

    async def scene(client: httpx.AsyncClient) -> None:
        headers = bench.authorised("ada", X_Label="seven-of-nine")
        answer = await client.post("/v1/images", content=picture(), headers=headers)
        id = answer.json()["id"]
        for subject in ("ada", "mallory"):
            await client.get(f"/v1/images/{id}", headers=bench.authorised(subject))
        await client.post("/v1/images", content=b"%PDF", headers=headers)
        counters = (await client.get("/metrics")).text
        assert 'darkroom_uploads_images_total{outcome="accepted"} 1.0' in counters
        assert 'darkroom_uploads_images_total{outcome="not_an_image"} 1.0' in counters
        assert f"darkroom_uploads_accepted_bytes_total {float(len(picture()))}" in counters
        assert "darkroom_uploads_acknowledgement_seconds_count 1.0" in counters
        assert 'route="/v1/images/{id}",status="404"' in counters
        lines = [JsonLines().format(record) for record in caplog.records if record.name.startswith("darkroom")]
        assert [json.loads(line)["status"] for line in lines] == [201, 200, 404, 415]
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        seen.extend([counters, *lines])
        token = headers["Authorization"].removeprefix("Bearer ")
        for secret in (id, name, token, "ada", "mallory", "seven-of-nine"):
            assert not [text for text in seen if secret in text]

    bench.run(scene)


def test_every_answer_has_security_headers_and_says_nothing_of_the_server(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        for answer in (await client.get("/healthz"), await client.get("/nowhere"), await client.put("/v1/images")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "server" not in answer.headers

    bench.run(scene)


def test_an_unknown_address_and_a_wrong_method_are_problems_too(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        assert_problem(await client.get("/nowhere"), 404, "not_found")
        answer = await client.delete("/v1/images")
        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    bench.run(scene)


def test_a_failure_nobody_foresaw_is_answered_without_its_trace_and_logged_with_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(token: str) -> None:
        raise ZeroDivisionError("the inside of the house")

    bench.verifier.judge = broken  # type: ignore[method-assign]

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", content=picture(), headers=bench.authorised())
        document = assert_problem(answer, 500, "internal")
        assert "inside" not in json.dumps(document)

    bench.run(scene)
    assert [
        record for record in caplog.records if "inside of the house" in getattr(record, "fields", {}).get("trace", "")
    ]


def test_openapi_describes_both_bodies_and_every_refusal(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        post = (await client.get("/openapi.json")).json()["paths"]["/v1/images"]["post"]
        assert set(post["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
        assert {"201", "207", "400", "401", "408", "410", "413", "415", "503"} <= set(post["responses"])
        assert {parameter["name"] for parameter in post["parameters"]} == {"X-Label", "X-Uploaded-At"}
        assert post["security"] == [{"HTTPBearer": []}]
        page = (await client.get("/docs")).text
        assert "swagger-ui" in page
        assert re.findall(r"""(?:src|href)=["'](?!/)""", page) == [], "the page loads something from elsewhere"
        for address in re.findall(r"""(?:src|href)=["'](/[^"']+)""", page):
            assert (await client.get(address)).status_code == 200

    bench.run(scene)


def test_what_postgresql_says_goes_before_what_this_instance_remembers(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        developed(bench, id)
        bench.states.rows[id] = replace(bench.states.rows[id], state="landed")
        document = (await client.get(f"/v1/images/{id}", headers=bench.authorised())).json()
        assert document["state"] == "landed"

    bench.run(scene)
