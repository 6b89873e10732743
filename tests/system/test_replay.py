"""Quarantine and back: turned away by a limit that is too low, an image is developed once by a replay afterwards."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import httpx
import polars as pl
import pytest

from cli.dataset import photographs
from cli.settle import wait_until_settled
from tests.live_stack import LiveStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

# Another person each time, so that the test also says the same on a stack that it has seen before.
SUBJECT = f"replayed-{uuid.uuid4().hex[:8]}"


def rows(stack: LiveStack, table: str, columns: list[str]) -> pl.DataFrame:
    return pl.scan_delta(stack.status()["lake"]["tables"][f"images/{table}"]).select(columns).collect()


@pytest.fixture
def limit(stack: LiveStack):
    """Sets max_pixels in the home's darkroom.toml, which every run reads at its start; what was there is put back."""
    path = stack.home / "darkroom.toml"
    before = path.read_text() if path.exists() else None

    def restore() -> None:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(before)

    def lower(pixels: int) -> Callable[[], None]:
        path.write_text(f"{before or ''}\nmax_pixels = {pixels}\n")
        return restore

    yield lower
    restore()


def test_an_image_that_a_wrong_limit_quarantined_is_developed_once_by_a_replay(stack, limit, tmp_path):
    picture = tmp_path / "flower.jpg"
    picture.write_bytes(photographs()[1].image)
    mend = limit(1000)
    stack.run("send", str(picture), "--subject", SUBJECT)
    wait_until_settled(stack.settings(), stack.dagster(), 300)
    refused = rows(stack, "quarantined_images", ["id", "reason"])
    # By this limit, and not whatever else was refused on this stack: the door is asked for each by itself.
    refused = refused.filter(pl.col("id").is_not_null() & (pl.col("reason") == "too_many_pixels"))
    mine = [id for id, state in states(stack, refused["id"].to_list()).items() if state == "quarantined"]
    assert len(mine) == 1

    mend()
    done = stack.run("replay-quarantine", "--reason", "too_many_pixels", timeout=400)
    assert re.match(r"1 of \d+ quarantined records are images now; \d+ stay in quarantine\.", done.stdout), done.stdout
    assert rows(stack, "processed_images", ["id"]).filter(pl.col("id") == mine[0]).height == 1
    assert rows(stack, "quarantined_images", ["id"]).filter(pl.col("id") == mine[0]).height == 0
    assert states(stack, mine) == {mine[0]: "processed"}

    again = stack.run("replay-quarantine", "--reason", "too_many_pixels", timeout=400)
    assert again.stdout.startswith(("0 of ", "Nothing is quarantined"))
    assert rows(stack, "processed_images", ["id"]).filter(pl.col("id") == mine[0]).height == 1


def states(stack: LiveStack, ids: list[str]) -> dict[str, str]:
    """Where the subject's own images are; those of others are none of its business, and left out."""
    import ssl

    headers = {"Authorization": f"Bearer {stack.token(SUBJECT)}"}
    trusted = ssl.create_default_context(cafile=stack.ca)
    found = {}
    with httpx.Client(verify=trusted, headers=headers, timeout=30) as client:
        for id in ids:
            answer = client.get(f"{stack.url}/v1/images/{id}")
            if answer.status_code == 200:
                found[id] = answer.json()["state"]
    return found
