"""Labels put right on the running stack: from the door through Kafka and the lake into the training set."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import httpx
import pytest

from resources.corrections import read_corrections
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.sealed_rows import SealedRows
from resources.training_set import make_training_set
from tests.live_stack import LiveStack
from tests.platform_assets.dagster_client import DagsterClient
from tests.services.live import record_at, scan, until
from transforms.envelope import clear_of
from transforms.families import DIGITS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


@pytest.fixture
def subject() -> str:
    return f"live-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def doors(stack: LiveStack) -> Iterator[list[httpx.Client]]:
    context = stack.as_gateway()
    clients = [httpx.Client(base_url=url, verify=context, timeout=60) for url in stack.instances]
    yield clients
    for client in clients:
        client.close()


def land(stack: LiveStack) -> None:
    dagster = DagsterClient(stack.home)
    (run,) = dagster.finished(dagster.launch("land_messages"))
    assert run["status"] == "SUCCESS"


def test_a_label_put_right_is_in_the_next_training_set_and_only_by_its_uploader(
    stack: LiveStack, doors: list[httpx.Client], subject: str
) -> None:
    headers = {"Authorization": f"Bearer {stack.token(subject)}"}
    sent = doors[0].post("/v1/images", content=scan(), headers={**headers, "X-Label": "3"}).json()
    where = f"/v1/images/{sent['id']}"
    # The other instance, while the image is on its way.
    early = doors[1].put(f"{where}/label", json={"label": "7"}, headers=headers)
    assert early.status_code == 202, early.text
    clear = clear_of(record_at(stack, early.json()).headers())
    image = clear_of(record_at(stack, sent).headers())
    assert clear is not None and image is not None
    assert (clear.id, clear.key) == (sent["id"], image.key), "the key that sealed the image"
    stranger = {"Authorization": f"Bearer {stack.token('live-stranger')}"}
    assert doors[0].put(f"{where}/label", json={"label": "1"}, headers=stranger).status_code == 404
    refused = stack.run("label", sent["id"], "1", "--subject", "live-stranger", check=False)
    assert refused.returncode == 1 and "You have no image of this id" in refused.stderr
    assert "images.labels" in stack.run("label", sent["id"], "8", "--subject", subject).stdout
    until(lambda: doors[1].get(where, headers=headers).json()["state"] == "processed", 180)
    land(stack)
    settings = stack.settings("dagster").acting_as("learning")
    rows = make_training_set(open_lake(settings), open_key_store(settings), [DIGITS])[DIGITS.name]
    assert dict(zip(rows.ids, rows.labels, strict=True))[sent["id"]] == "8"
    assert sent["id"] in rows.corrected


def test_kill_9_of_a_door_among_its_answers_loses_no_label_that_was_acknowledged_and_sending_again_is_harmless(
    stack: LiveStack, doors: list[httpx.Client], subject: str
) -> None:
    headers = {"Authorization": f"Bearer {stack.token(subject)}"}
    sent = doors[1].post("/v1/images", content=scan(), headers=headers).json()
    where, said, broken = f"/v1/images/{sent['id']}/label", [0], threading.Event()

    def put_on() -> None:
        """One label after the other by the first door, until it dies among them."""
        while not broken.is_set():
            try:
                answer = doors[0].put(where, json={"label": str(said[0] + 1)}, headers=headers)
            except httpx.TransportError:
                broken.set()
                return
            assert answer.status_code == 202, answer.text
            said[0] += 1

    sender = threading.Thread(target=put_on)
    sender.start()
    until(lambda: said[0] > 5)
    name = next(name for name in stack.status()["services"] if name.startswith("uploads"))
    stack.kill(name)
    sender.join(60)
    assert broken.is_set()
    land(stack)
    settings = stack.settings("dagster").acting_as("learning")
    lake, sealed = open_lake(settings), SealedRows(open_key_store(settings))
    clear = clear_of(record_at(stack, sent).headers())
    assert clear is not None

    def last() -> int:
        return int(read_corrections(lake, sealed, {sent["id"]: clear.key}).labels[sent["id"]])

    # The one without an answer may be kept or not; every one before it is, and nothing else.
    assert last() in (said[0], said[0] + 1)
    again = doors[1].put(where, json={"label": str(said[0] + 1)}, headers=headers)
    assert again.status_code == 202
    land(stack)
    assert last() == said[0] + 1
    stack.wait_healthy(name)
