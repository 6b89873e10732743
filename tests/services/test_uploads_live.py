"""The upload application on the running stack: two instances over TLS, real Kafka, PostgreSQL and key store."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.live_stack import LiveStack
from tests.services.live import ids_between, picture, record_at, until
from transforms.envelope import clear_of

pytestmark = pytest.mark.stack


@pytest.fixture
def headers(stack: LiveStack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.token(f'live-{uuid.uuid4().hex[:8]}')}"}


@pytest.fixture
def doors(stack: LiveStack) -> Iterator[list[httpx.Client]]:
    """One client for each of the two instances."""
    context = stack.as_gateway()
    clients = [httpx.Client(base_url=url, verify=context, timeout=60) for url in stack.instances]
    yield clients
    for client in clients:
        client.close()


def upload_services(stack: LiveStack) -> list[str]:
    return [name for name in stack.status()["services"] if name.startswith("uploads")]


def test_what_one_instance_took_is_in_kafka_and_known_to_the_other(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    image = picture()
    answer = doors[0].post("/v1/images", content=image, headers={**headers, "X-Label": "very-private"})
    assert answer.status_code == 201, answer.text
    message = record_at(stack, answer.json())
    clear = clear_of(message.headers())
    assert clear is not None
    assert (clear.id, clear.day.isoformat(), clear.via) == (answer.json()["id"], answer.json()["day"], "uploads")
    value = message.value()
    assert value is not None
    assert image[:32] not in value and b"very-private" not in value
    told = doors[1].get(answer.headers["location"], headers=headers)
    assert told.status_code == 200
    assert told.json()["state"] in {"accepted", "landed", "processed"}
    stranger = {"Authorization": f"Bearer {stack.token('live-stranger')}"}
    assert doors[1].get(answer.headers["location"], headers=stranger).status_code == 404


def test_several_files_go_in_with_one_request(doors: list[httpx.Client], headers: dict[str, str]) -> None:
    files = [("file", (f"{number}.png", picture(), "image/png")) for number in range(20)]
    files.insert(7, ("file", ("invoice.jpg", b"%PDF-1.7", "image/jpeg")))
    results = doors[0].post("/v1/images", files=files, headers=headers).json()["results"]
    assert [result["status"] for result in results] == [201] * 7 + [415] + [201] * 13
    assert len({result["id"] for result in results if result["status"] == 201}) == 20


def test_only_tls_with_the_stacks_own_authority_is_spoken(stack: LiveStack, doors: list[httpx.Client]) -> None:
    assert doors[0].get("/healthz").headers.get("server") is None
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(stack.instances[0] + "/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(stack.instances[0] + "/healthz", verify=ssl.create_default_context(cafile=stack.ca))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(stack.instances[0].replace("https://", "http://") + "/healthz")
    old = stack.as_gateway()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(stack.instances[0] + "/healthz", verify=old)


def test_without_a_token_nothing_is_taken(doors: list[httpx.Client]) -> None:
    answer = doors[0].post("/v1/images", content=picture())
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_an_image_over_the_limit_is_refused_with_an_answer_that_arrives(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str], chunked: bool
) -> None:
    size = stack.settings("uploads").max_image_bytes + 1
    body = picture().ljust(size, b"\0")
    pieces = (body[start : start + 65536] for start in range(0, size, 65536))
    answer = doors[0].post("/v1/images", content=pieces if chunked else body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_an_image_of_exactly_the_limit_passes_the_broker_too(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    size = stack.settings("uploads").max_image_bytes
    answer = doors[0].post("/v1/images", content=picture().ljust(size, b"\0"), headers=headers)
    assert (answer.status_code, answer.json().get("bytes")) == (201, size)


def test_ready_says_so_and_counts(doors: list[httpx.Client], headers: dict[str, str]) -> None:
    for door in doors:
        ready = door.get("/readyz")
        assert (ready.status_code, set(ready.json()["checks"].values())) == (200, {"ok"}), ready.text
    assert doors[0].post("/v1/images", content=picture(), headers=headers).status_code == 201
    assert 'darkroom_uploads_images_total{outcome="accepted"}' in doors[0].get("/metrics").text


def test_a_request_under_way_is_finished_when_the_instance_is_told_to_stop(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    name = upload_services(stack)[0]
    pid = stack.pid(name)
    begun = threading.Event()

    def dribble() -> Iterator[bytes]:
        image = picture()
        yield image[:100]
        begun.set()
        time.sleep(2)
        yield image[100:]

    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(doors[0].post, "/v1/images", content=dribble(), headers=headers)
        assert begun.wait(10)
        os.kill(pid, signal.SIGTERM)
        assert sending.result(40).status_code == 201
    until(lambda: not psutil.pid_exists(pid))
    stack.wait_healthy(name)


def test_after_kill_9_of_an_instance_every_acknowledged_image_is_in_kafka_and_the_other_went_on(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    name = upload_services(stack)[0]
    acknowledged: list[dict[str, Any]] = []
    by_door = [0, 0]
    stop = threading.Event()

    def send(number: int) -> None:
        while not stop.is_set():
            try:
                answer = doors[number].post("/v1/images", content=picture(), headers=headers)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 201:
                acknowledged.append(answer.json())
                by_door[number] += 1

    with ThreadPoolExecutor(4) as threads:
        senders = [threads.submit(send, number % 2) for number in range(4)]
        until(lambda: min(by_door) > 20)
        pid = stack.kill(name)
        after_kill = by_door[1]
        until(lambda: by_door[1] > after_kill + 20)
        until(lambda: not psutil.pid_exists(pid))
        stack.wait_healthy(name)
        before_return = by_door[0]
        until(lambda: by_door[0] > before_return)
        stop.set()
        for sender in senders:
            sender.result(60)
    places = {(answer["partition"], answer["offset"]): answer["id"] for answer in acknowledged}
    assert len(places) == len(acknowledged), "an offset was acknowledged twice"
    found = ids_between(stack, acknowledged)
    assert {place: found.get(place) for place in places} == places


@pytest.mark.slow
def test_while_the_broker_is_away_images_are_refused_with_503_and_taken_again_by_the_same_process_after(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    name = upload_services(stack)[0]
    before = stack.pid(name)
    os.kill(stack.pid("kafka"), signal.SIGKILL)
    refused = doors[0].post("/v1/images", content=picture(), headers=headers)
    # The supervisor may be quicker than the delivery's time: then the record waited for the broker, and is kept.
    assert refused.status_code in {201, 503}
    if refused.status_code == 503:
        assert int(refused.headers["retry-after"]) > 0
    until(lambda: doors[0].post("/v1/images", content=picture(), headers=headers).status_code == 201, 120)
    assert stack.pid(name) == before
    stack.wait_healthy("kafka", *upload_services(stack))


@pytest.mark.slow
def test_while_the_broker_hangs_every_instance_refuses_with_503_and_says_when_to_try_again(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    """A broker that is stopped keeps its connections and answers nothing: only the delivery's time ends the wait."""

    def send(door: httpx.Client) -> httpx.Response:
        return door.post("/v1/images", content=picture(), headers=headers)

    # Connected and acknowledged before, so that what follows is a hang and no connection that was never made.
    assert [send(door).status_code for door in doors] == [201, 201]
    broker = psutil.Process(stack.pid("kafka"))
    longest = stack.settings("uploads").kafka_timeout_seconds
    try:
        broker.suspend()
        begun = time.monotonic()
        with ThreadPoolExecutor(len(doors)) as threads:
            refused = list(threads.map(send, doors))
        waited = time.monotonic() - begun
    finally:
        broker.resume()
    assert [answer.status_code for answer in refused] == [503, 503]
    for answer in refused:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:darkroom:problem:kafka_away"
        assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] > 0
    assert waited < longest + 10, f"the senders waited {waited:.0f} s for their 503"
    for door in doors:
        until(lambda door=door: send(door).status_code == 201, 60)
    stack.wait_healthy("kafka", *upload_services(stack))
    assert stack.pid("kafka") == broker.pid, "it was another broker that took the images"


@pytest.mark.alone
@pytest.mark.slow
def test_while_postgresql_is_away_images_are_taken_and_their_state_is_answered_503(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    server = psutil.Process(stack.pid("postgres"))
    stopped = [server]

    def signal_all(number: signal.Signals) -> None:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):  # a session may have ended by itself
                process.send_signal(number)

    try:
        # It and the sessions it serves: a server that hangs is worse than one that is gone. It first: it makes them.
        signal_all(signal.SIGSTOP)
        stopped += server.children(recursive=True)
        signal_all(signal.SIGSTOP)
        begun = time.monotonic()
        answer = doors[0].post("/v1/images", content=picture(), headers=headers)
        assert answer.status_code == 201
        assert time.monotonic() - begun < 5, "the projection delayed the answer"
        asked = doors[0].get(f"/v1/images/{'a' * 26}", headers=headers)
        assert (asked.status_code, asked.headers["content-type"]) == (503, "application/problem+json")
    finally:
        signal_all(signal.SIGCONT)
    until(lambda: doors[0].get(f"/v1/images/{'a' * 26}", headers=headers).status_code == 404)


@pytest.mark.alone
@pytest.mark.slow
def test_many_large_images_at_once_are_taken_or_refused_and_memory_stays_bounded(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    process = psutil.Process(stack.pid(upload_services(stack)[0]))
    large = stack.settings("uploads").max_image_bytes
    bodies = [picture().ljust(large, b"\0") for _ in range(4)]
    highest = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(20) as threads:
            answers = list(
                threads.map(
                    lambda number: doors[0].post("/v1/images", content=bodies[number % 4], headers=headers), range(20)
                )
            )
    finally:
        done.set()
        watcher.join()
    assert {answer.status_code for answer in answers} <= {201, 503}
    assert any(answer.status_code == 201 for answer in answers)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 503)
    assert highest[0] < 900 * 1024 * 1024, f"{highest[0] / 2**20:.0f} MiB"
    print(f"peak RSS {highest[0] / 2**20:.0f} MiB, {sum(answer.status_code == 201 for answer in answers)} of 20 taken")


def test_a_developed_image_shows_its_thumbnail_to_its_uploader_alone(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    sent = doors[0].post("/v1/images", content=picture(300), headers=headers)
    where = sent.headers["location"]
    until(lambda: doors[1].get(where, headers=headers).json()["state"] == "processed", 180)
    link = doors[1].get(where, headers=headers).json()["links"]["thumbnail"]
    for door in doors:
        shown = door.get(link, headers=headers)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp"), shown.text
        with Image.open(io.BytesIO(shown.content)) as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("WEBP", (256, 256))
    stranger = {"Authorization": f"Bearer {stack.token('live-stranger')}"}
    assert doors[0].get(link, headers=stranger).status_code == 404


def test_what_passed_the_door_and_is_broken_is_told_as_quarantined_with_its_reason(
    stack: LiveStack, doors: list[httpx.Client], headers: dict[str, str]
) -> None:
    sent = doors[0].post("/v1/images", content=picture(64)[:-200], headers=headers)
    assert sent.status_code == 201
    where = sent.headers["location"]
    until(lambda: doors[1].get(where, headers=headers).json()["state"] == "quarantined", 180)
    told = doors[1].get(where, headers=headers).json()
    assert told["reason"] in {"truncated", "corrupt"}
    assert "thumbnail" not in told["links"]
    assert doors[0].get(f"{where}/thumbnail", headers=headers).status_code == 404
