"""GET /v1/images/{id} says what models named an image: from the topic, else from the lake, at once or waited for."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from time import perf_counter

import httpx
import pyarrow as pa
import pytest

from resources.lake import open_lake
from resources.postgres import StatusRow
from tests.services.answering import DAY, answer, key_of
from tests.services.uploading import NOON, Bench, assert_problem, picture
from transforms.envelope import pseudonym, seal_field
from transforms.tables import RECOGNISED_IMAGES


async def sent(bench: Bench, client: httpx.AsyncClient, subject: str = "ada") -> str:
    done = await client.post("/v1/images", content=picture(), headers=bench.authorised(subject))
    assert done.status_code == 201
    return done.json()["id"]


async def asked(
    bench: Bench, client: httpx.AsyncClient, id: str, wait: str = "", subject: str = "ada"
) -> httpx.Response:
    query = {"wait": wait} if wait else {}
    return await client.get(f"/v1/images/{id}", params=query, headers=bench.authorised(subject))


def stored(bench: Bench, id: str, label: str, version: str, later: int = 0, subject: str = "ada") -> None:
    """Put a row of the batch lane into the real table, and the image's state to processed."""
    key = key_of(bench, subject)
    name = pseudonym(bench.keys.platform_secret(), subject, DAY)
    sealed = seal_field(
        label.encode(), table=RECOGNISED_IMAGES.name, column="label", id=id, day=DAY, key=key, nonce=os.urandom(12)
    )
    row = {
        **{"id": id, "day": DAY, "pseudonym": name, "key": key.name, "model": "digits", "model_version": version},
        **{"label": sealed, "probability": 0.5, "lane": "batch", "scored_at": NOON + timedelta(seconds=later)},
        **{"topic": "images.raw", "topic_id": "T", "partition": 2, "offset": 0},
    }
    lake = open_lake(bench.settings)
    lake.append(
        lake.ensure(RECOGNISED_IMAGES), RECOGNISED_IMAGES, pa.Table.from_pylist([row], RECOGNISED_IMAGES.schema)
    )
    bench.states.rows[id] = StatusRow(id, DAY, name, "processed", None, NOON)


def test_an_image_that_nobody_named_has_no_answer_yet(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        found = await asked(bench, client, await sent(bench, client))
        assert (found.status_code, found.json()["recognised"]) == (200, [])

    bench.run(scene)


def test_the_newest_answer_of_each_model_is_there_as_soon_as_it_passed_by(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        for label, later, model in (("1", 0, "digits"), ("7", 5, "digits"), ("red", 1, "colours")):
            bench.answers.put(answer(bench, id, label, later=later, model=model))
        found = (await asked(bench, client, id)).json()["recognised"]
        assert {one["model"]: (one["label"], one["model_version"]) for one in found} == {
            "digits": ("7", "6@abcdef01"),
            "colours": ("red", "2@abcdef01"),
        }
        assert found[0]["probability"] == 0.75 and found[0]["scored_at"].startswith("2026-03-14T12:00:0")

    bench.run(scene)


def test_whoever_waits_is_answered_when_the_answer_comes_and_not_before_or_long_after(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        waiting = asyncio.create_task(asked(bench, client, id, "20s"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(bench.answers.put, answer(bench, "z" * 26, "3"))
        await asyncio.to_thread(bench.answers.put, answer(bench, id, "8"))
        async with asyncio.timeout(5):
            found = await waiting
        assert [one["label"] for one in found.json()["recognised"]] == ["8"]

    bench.run(scene)


def test_whoever_waits_in_vain_is_answered_with_what_is_known_after_that_time(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        began = perf_counter()
        found = await asked(bench, client, id, "400ms")
        assert found.json()["recognised"] == [] and found.json()["state"] == "accepted"
        assert perf_counter() - began >= 0.4

    bench.run(scene)


def test_nobody_waits_for_a_quarantined_image(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        bench.states.rows[id] = StatusRow(id, DAY, name, "quarantined", "corrupt", NOON)
        async with asyncio.timeout(5):
            assert (await asked(bench, client, id, "30s")).json()["state"] == "quarantined"

    bench.run(scene)


def test_whoever_waits_for_an_image_that_is_quarantined_meanwhile_is_told_so(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        waiting = asyncio.create_task(asked(bench, client, id, "30s"))
        await asyncio.sleep(0.3)
        name = pseudonym(bench.keys.platform_secret(), "ada", DAY)
        bench.states.rows[id] = StatusRow(id, DAY, name, "quarantined", "corrupt", NOON)
        async with asyncio.timeout(5):
            assert (await waiting).json()["state"] == "quarantined"

    bench.run(scene)


def test_what_passed_by_long_ago_is_in_the_lake_and_the_newest_version_counts(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        stored(bench, id, "4", "2@aaaaaaaa", later=9)
        stored(bench, id, "9", "1@bbbbbbbb")
        (found,) = (await asked(bench, client, id, "5s")).json()["recognised"]
        assert (found["label"], found["model_version"], found["probability"]) == ("4", "2@aaaaaaaa", 0.5)

    bench.run(scene)


def test_a_lake_that_cannot_be_read_makes_the_answer_unknown_and_not_the_state(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        stored(bench, id, "4", "2@aaaaaaaa")
        log = next((bench.settings.home / "lake" / RECOGNISED_IMAGES.name / "_delta_log").glob("*.json"))
        log.write_text("no log")
        found = (await asked(bench, client, id)).json()
        assert (found["state"], found["recognised"]) == ("processed", None)

    bench.run(scene)


def test_an_answer_of_someone_elses_record_under_this_id_is_not_told(bench: Bench) -> None:
    """An unsealed record may carry any id: what it was named is no word of the sealed image."""

    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        bench.answers.put(answer(bench, id, "forged", subject="mallory"))
        assert (await asked(bench, client, id, "300ms")).json()["recognised"] == []
        assert_problem(await asked(bench, client, id, subject="mallory"), 404, "not_found")

    bench.run(scene)


def test_a_destroyed_key_darkens_answers_that_are_still_kept(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        id = await sent(bench, client)
        bench.answers.put(answer(bench, id, "7"))
        bench.keys.destroy_key(key_of(bench).name, who="ada")
        assert (await asked(bench, client, id)).json()["recognised"] == []

    bench.run(scene)


@pytest.mark.parametrize("wait", ["31s", "-1", "soon", "1e3", "2 s", "1m", "9" * 400, "nan"])
def test_a_wait_that_is_no_duration_is_refused_with_the_valid_ones(bench: Bench, wait: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        document = assert_problem(await asked(bench, client, await sent(bench, client), wait), 400, "bad_parameter")
        assert "30 seconds" in str(document["detail"]) and "500ms" in str(document["detail"])

    bench.run(scene)
