"""The gateway while instances and a whole site die, and while keys change: what clients see of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from access.gateway_filters import KEYS_SECONDS
from access.gateway_problems import PREFIX
from tests.envoys import POLICY, house, until


def test_an_instance_and_then_a_whole_site_die_and_no_client_sees_more_than_try_again(tmp_path: Path) -> None:
    with house(tmp_path / "home", POLICY, {"signin": [1], "uploads": [2, 2]}) as door:
        statuses: list[tuple[int, str]] = []
        stop, headers = threading.Event(), door.bearer("ada", "writers")

        def send() -> None:
            with door.client() as client:
                while not stop.is_set():
                    answer = client.post("/things", content=b"x" * 1000, headers=headers)
                    statuses.append((answer.status_code, answer.json().get("instance", "")))

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        try:
            until(lambda: len(statuses) > 100)
            first, second = door.sites["uploads"][0]
            first.close()
            before = len(statuses)
            until(lambda: len(statuses) > before + 200)
            assert {name for _, name in statuses[-50:]} == {second.name}, "the rest is served by the other"
            second.close()
            until(lambda: statuses[-1][1].startswith("uploads-1-"), 20)
            before = len(statuses)
            until(lambda: len(statuses) > before + 100)
        finally:
            stop.set()
            for sender in senders:
                sender.join(30)
    found = {status for status, _ in statuses}
    assert found <= {200, 503}, found
    assert statuses[-1][0] == 200
    assert sum(status != 200 for status, _ in statuses) <= 4, "each sender sees one at most"


def test_what_must_not_be_done_twice_is_tried_once_and_the_rest_elsewhere(tmp_path: Path) -> None:
    with house(tmp_path / "home", POLICY, {"signin": [1], "uploads": [2]}) as door, door.client() as client:
        headers = door.bearer("ada", "writers")
        for instance in door.sites["uploads"][0]:
            instance.status = 503
        assert client.post("/orders", content=b"x", headers=headers).status_code == 503
        assert len(door.everything()) == 1
        assert client.post("/things", content=b"x" * 5000, headers=headers).status_code == 503
        tried = [one for one in door.everything() if one["path"] == "/things"]
        assert [one["body"] for one in tried] == [5000] * len(tried)
        assert 2 <= len(tried) <= 3


def test_no_service_left_is_said_as_such_and_comes_back(tmp_path: Path) -> None:
    with house(tmp_path / "home", POLICY, {"signin": [1], "uploads": [1]}) as door, door.client() as client:
        door.sites["uploads"][0][0].close()
        headers = door.bearer("ada", "writers")
        until(lambda: client.post("/things", headers=headers).status_code == 503)
        answer = client.post("/things", headers=headers)
        assert (answer.json()["type"], answer.headers["retry-after"]) == (f"{PREFIX}service_away", "2")


def test_a_rotated_key_is_known_before_it_signs(tmp_path: Path) -> None:
    with house(tmp_path / "home", POLICY, {"signin": [1], "uploads": [1]}) as door, door.client() as client:
        before = door.bearer("ada", "writers")
        door.signer.rotate(lambda: time.sleep(KEYS_SECONDS))
        for headers in (before, door.bearer("ada", "writers")):
            assert client.post("/things", content=b"x", headers=headers).status_code == 200
