"""POST /v1/images with a form of files: one result or problem each."""

from __future__ import annotations

import io

import httpx
import pytest

from tests.services.uploading import LIMIT, Bench, assert_problem, picture


def test_several_files_give_one_result_or_problem_each_in_their_order(bench: Bench) -> None:
    files = [
        ("file", ("one.png", picture(1), "image/png", {"X-Label": "one"})),
        ("file", ("two.jpg", b"<html>", "image/jpeg")),
        ("file", ("three.png", picture(3).ljust(LIMIT + 1, b"\0"), "image/png")),
        ("file", ("four.png", b"", "image/png")),
        ("photo", ("five.png", picture(5), "image/png")),
        ("note", (None, "a plain field is nobody's image")),
        ("file", ("../six.png", picture(6), "image/png")),
    ]

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", files=files, headers=bench.authorised(X_Label="many"))
        assert answer.status_code == 207
        results = answer.json()["results"]
        assert [result["status"] for result in results] == [201, 415, 413, 400, 400, 201]
        assert [result["filename"] for result in results] == [
            "one.png",
            "two.jpg",
            "three.png",
            "four.png",
            "five.png",
            "../six.png",
        ]
        assert results[1]["type"] == "urn:darkroom:problem:not_an_image"
        by_id = {bench.opened(number)[0]: bench.opened(number)[2] for number in range(2)}
        assert (by_id[results[0]["id"]].label, by_id[results[5]["id"]].label) == ("one", "many")
        assert by_id[results[5]["id"]].filename == "six.png"

    bench.run(scene)
    assert len(bench.stream.records) == 2


def test_a_form_of_one_file_is_answered_like_a_bare_body(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        taken = await client.post("/v1/images", files={"file": ("a.png", picture())}, headers=bench.authorised())
        assert taken.status_code == 201
        refused = await client.post("/v1/images", files={"file": ("a.png", b"GIF")}, headers=bench.authorised())
        assert_problem(refused, 415, "not_an_image")

    bench.run(scene)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"--b\r\nContent-Disposition: form-data", "multipart/form-data; boundary=b", "malformed"),
        (b"no boundary anywhere", "multipart/form-data; boundary=b", "malformed"),
        (b"anything", "multipart/form-data", "malformed"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "empty"),
        (b"anything", f"multipart/form-data; boundary={'b' * 300}", "malformed"),
    ],
)
def test_a_form_that_cannot_be_read_or_holds_no_file_is_refused(
    bench: Bench, body: bytes, content_type: str, code: str
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        headers = bench.authorised(Content_Type=content_type)
        assert_problem(await client.post("/v1/images", content=body, headers=headers), 400, code)

    bench.run(scene)


def test_a_form_that_breaks_off_still_tells_which_files_were_taken(bench: Bench) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture() + b"\r\n"

    async def scene(client: httpx.AsyncClient) -> None:
        headers = bench.authorised(Content_Type="multipart/form-data; boundary=b")
        answer = await client.post("/v1/images", content=part + b"--b\r\nContent-", headers=headers)
        assert answer.status_code == 207
        assert [result["status"] for result in answer.json()["results"]] == [201, 400]

    bench.run(scene)


def test_a_form_of_more_than_a_hundred_files_is_cut_off_there(bench: Bench) -> None:
    files = [("file", (f"{number}.png", picture(number), "image/png")) for number in range(101)]

    async def scene(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/images", files=files, headers=bench.authorised())
        results = answer.json()["results"]
        assert [result["status"] for result in results] == [201] * 100 + [413]
        assert results[-1]["type"] == "urn:darkroom:problem:too_many_files"

    bench.run(scene)


def test_a_form_over_its_total_size_is_refused(bench: Bench) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        file = ("huge.png", io.BytesIO(picture().ljust(11 * LIMIT, b"\0")), "image/png")
        answer = await client.post("/v1/images", files={"file": file}, headers=bench.authorised())
        assert_problem(answer, 413, "too_large")

    bench.run(scene)
