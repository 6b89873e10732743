"""`darkroom label` against doors that fail: one of two is enough, a refusal is the door's words."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from cli.label import put_label
from cli.ways import DoorUntrusted
from resources.failures import PermanentFailure, TransientFailure

DOORS = ("https://one.test", "https://two.test")
KEPT = {"id": "a" * 26, "topic": "images.labels", "partition": 1, "offset": 3}


def ask(answer: Callable[[httpx.Request], httpx.Response], id: str = "a" * 26) -> dict[str, object]:
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        return put_label(client, DOORS, "token", id, "7 \N{SNOWMAN}")


def test_the_label_goes_to_the_door_with_the_token_and_its_answer_comes_back():
    def door(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("PUT", f"/v1/images/{'a' * 26}/label")
        assert request.headers["authorization"] == "Bearer token"
        assert json.loads(request.content) == {"label": "7 \N{SNOWMAN}"}
        return httpx.Response(202, json=KEPT)

    assert ask(door) == KEPT


def test_an_id_cannot_lead_to_another_address():
    def door(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/v1/images/..%2F..%2Fhealthz/label"
        return httpx.Response(404, json={"detail": "You have no image of this id."})

    with pytest.raises(PermanentFailure, match=r"not taken \(404\): You have no image of this id"):
        ask(door, "../../healthz")


@pytest.mark.parametrize("first", [None, 503], ids=["gone", "Kafka away"])
def test_while_one_door_cannot_the_other_is_asked(first: int | None):
    def door(request: httpx.Request) -> httpx.Response:
        if request.url.host == "two.test":
            return httpx.Response(202, json=KEPT)
        if first is None:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(first, json={"detail": "Kafka did not acknowledge the label in time."})

    assert ask(door) == KEPT


def test_when_no_door_can_the_last_ones_words_are_told():
    with pytest.raises(TransientFailure, match=r"No door took the label \(Kafka did not"):
        ask(lambda request: httpx.Response(503, json={"detail": "Kafka did not"}))


def test_what_takes_it_without_saying_where_is_no_door():
    with pytest.raises(DoorUntrusted):
        ask(lambda request: httpx.Response(202, text="hello"))
