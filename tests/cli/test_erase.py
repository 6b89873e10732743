"""`darkroom erase` on the running stack: an image, and an uploader; a dry run by default."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import polars as pl
import pytest

from access.policy import load_policy
from resources.lake import open_lake
from tests.live_stack import LiveStack
from tests.services.live import picture, until
from transforms.retention import ERASED_HEADER
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES

pytestmark = pytest.mark.stack


@pytest.fixture
def sender(stack: LiveStack) -> Iterator[tuple[str, httpx.Client]]:
    """Somebody with two developed images, and a client of theirs."""
    with stack.person("image-uploaders") as (name, _):
        token = {"Authorization": f"Bearer {stack.token(name)}"}
        with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False, headers=token) as client:
            yield name, client


def sent(client: httpx.Client, count: int = 2) -> list[str]:
    ids = [client.post("/v1/images", content=picture()).raise_for_status().json()["id"] for _ in range(count)]
    until(lambda: all(client.get(f"/v1/images/{id}").json()["state"] == "processed" for id in ids), 120)
    return ids


def test_an_image_is_erased_only_with_yes_and_then_nobody_has_it(
    stack: LiveStack, sender: tuple[str, httpx.Client]
) -> None:
    _, client = sender
    gone, stays = sent(client)
    said = stack.run("erase", gone).stdout
    assert "1 in images/processed_images" in said and "--yes --why TEXT" in said
    assert client.get(f"/v1/images/{gone}/thumbnail").status_code == 200
    assert stack.run("erase", gone, "--yes", check=False).returncode == 2
    said = stack.run("erase", gone, "--yes", "--why", "asked").stdout
    assert "Erased: " in said and "stays in Kafka until" in said
    assert client.get(f"/v1/images/{gone}").status_code == 404
    assert client.get(f"/v1/images/{gone}/thumbnail").status_code == 404
    assert client.get(f"/v1/images/{stays}/thumbnail").status_code == 200
    lake = open_lake(stack.settings())
    ids = pl.scan_delta(lake.open(PROCESSED_IMAGES.name)).select("id").collect()["id"].to_list()
    assert gone not in ids and stays in ids
    refused = stack.run("erase", gone, check=False)
    assert refused.returncode == 1 and "No table and no state speaks of image" in refused.stderr


def test_those_alone_open_keys_who_may_and_each_is_on_the_trail(
    stack: LiveStack, sender: tuple[str, httpx.Client]
) -> None:
    name, client = sender
    (id,) = sent(client, 1)
    assert client.get(f"/v1/images/{id}/thumbnail").status_code == 200
    text = (stack.home / "logs" / "keys.log").read_text()
    who = {json.loads(line)["who"] for line in text.splitlines()}
    may = {one for one, rights in load_policy().identities.items() if "OPEN" in rights.keys}
    assert {"uploads", "developing"} <= who <= may
    assert name not in text and id not in text


def test_an_uploader_is_erased_with_all_that_was_sent(stack: LiveStack, sender: tuple[str, httpx.Client]) -> None:
    name, client = sender
    ids = sent(client)
    assert "2 in images/raw_images" in stack.run("erase", "--uploader", name).stdout
    said = stack.run("erase", "--uploader", name, "--yes", "--why", "asked").stdout
    assert "1 data keys" in said and "nobody has its key" in said
    assert [client.get(f"/v1/images/{id}").status_code for id in ids] == [404, 404]
    bronze = pl.scan_delta(open_lake(stack.settings()).open(RAW_IMAGES.name)).filter(pl.col("payload").is_null())
    marks = bronze.select(pl.col("headers").list.eval(pl.element().struct.field("key")).list.first()).collect()
    assert marks["headers"].to_list().count(ERASED_HEADER) >= len(ids)
    log = (stack.home / "logs" / "audit.log").read_text()
    assert '"event": "erase uploader"' in log and name not in log


def test_what_to_erase_has_to_be_said(stack: LiveStack) -> None:
    for wrong in ((), ("b" * 26, "--uploader", "ada")):
        refused = stack.run("erase", *wrong, check=False)
        assert refused.returncode == 2
        assert "Say what to erase" in " ".join(refused.stderr.split())
    assert "is no image id" in " ".join(stack.run("erase", "no-id", check=False).stderr.replace("│", " ").split())
