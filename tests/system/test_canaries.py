"""Words and secrets that nobody could guess go once through the whole stack; afterwards they are looked for.

What is meant for few is on no wire in the clear; what is secret stands beside in no log, no event, no table and no
process list. One image with a private label, one person with password, session and token, and the stack's own keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from websockets.asyncio.client import connect

from stack.people import person_dsn
from stack.processes import living
from stack.state import DAGSTER_DATABASE, MLFLOW_DATABASE, PLATFORM_DATABASE, load_state
from tests.live_stack import LiveStack
from tests.services.live import picture, until
from tests.services.streaming import give, told
from tests.system.dumps import dumped
from tests.system.wire import Capture

pytestmark = pytest.mark.stack


@dataclass
class Scene:
    """What went through, by what it is called, and what was seen meanwhile."""

    private: dict[str, bytes] = field(default_factory=dict)
    """Not secret to everybody, but to the wire."""
    secret: dict[str, bytes] = field(default_factory=dict)
    flows: dict[tuple[int, int], bytes] = field(default_factory=dict)
    captured: bool = False
    dropped: int = 0
    command_lines: set[str] = field(default_factory=set)
    control: int = 0
    """The port to which a word was sent in the clear, to show that the capture sees such."""


@pytest.fixture(scope="module")
def scene(stack: LiveStack) -> Iterator[Scene]:
    """Everything once, with the wire and the process list watched."""
    found = Scene()
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(stack, found, done))
    capture = Capture()
    with stack.person("image-uploaders", "ml-engineers", "analytics") as (name, password):
        found.secret["password"] = password.encode()
        watching.start()
        try:
            with contextlib.ExitStack() as opened:
                try:
                    opened.enter_context(capture)
                    found.captured = True
                except PermissionError:
                    found.captured = False
                _play(stack, found, name, password)
        finally:
            done.set()
            watching.join()
    found.flows, found.dropped = capture.flows(), capture.dropped
    home = stack.home / "secrets"
    for file in sorted(home.iterdir()):
        lines = [line for line in file.read_bytes().splitlines() if b"-----" not in line]
        # Of a key the middle, for its beginning says only of what kind it is.
        found.secret[file.name] = lines[len(lines) // 2][-40:] if len(lines) > 1 else lines[0][-40:]
    yield found


def _play(stack: LiveStack, found: Scene, name: str, password: str) -> None:
    trust = ssl.create_default_context(cafile=stack.ca)
    image, label, word = picture(64), f"label-{secrets.token_hex(12)}", secrets.token_hex(20)
    found.private |= {"image": image[len(image) // 2 :][:40], "label": label.encode(), "query": word.encode()}
    with httpx.Client(base_url=stack.url, verify=trust, timeout=30, trust_env=False) as client:
        signed = client.post("/v1/session", json={"name": name, "password": password}).raise_for_status().json()
        found.secret |= {"session": signed["session"].encode(), "token": signed["token"].encode()}
        bearer = {"Authorization": f"Bearer {signed['token']}"}
        sent = client.post("/v1/images", content=image, headers={**bearer, "X-Label": label})
        sent.raise_for_status()

        async def stream() -> None:
            url = stack.stream_url
            async with connect(url, additional_headers=bearer, ssl=trust, proxy=None) as joined:
                await give(joined, 0, picture(), label=label)
                await told(joined)

        asyncio.run(stream())
        experiment = client.post(
            "/mlflow/api/2.0/mlflow/experiments/create", json={"name": f"canary-{word}"}, headers=bearer
        ).raise_for_status()
        client.post("/mlflow/api/2.0/mlflow/experiments/delete", json=experiment.json(), headers=bearer)

    def developed() -> bool:
        asking = {"Authorization": f"Bearer {stack.token(name)}"}
        url = f"{stack.url}/v1/images/{sent.json()['id']}"
        return httpx.get(url, headers=asking, verify=trust, timeout=30).json()["state"] == "processed"

    people = stack.status()["kafka"]["people"]
    kafka = AdminClient({**people, "oauth_cb": lambda _: (signed["token"], 2e9)})
    kafka.poll(0)
    kafka.list_topics(timeout=10)
    stack.run("access", "apply", "--yes")
    with psycopg.connect(person_dsn(stack.home, name)) as connection:
        assert connection.execute("SELECT %s::text", [word]).fetchone() == (word,)
    until(developed, 120)
    # Last a word in the clear: a capture that has seen it has seen all that came before.
    with socket.create_server(("127.0.0.1", 0)) as server:
        found.control = server.getsockname()[1]
        with socket.create_connection(server.getsockname()) as sent_clear, server.accept()[0] as taken:
            sent_clear.sendall(word.encode())
            assert taken.recv(100) == word.encode()


def _watch(stack: LiveStack, found: Scene, done: threading.Event) -> None:
    """Keep what the process list shows of the stack, runs and their workers among it."""
    state = load_state(stack.home)
    while not done.wait(0.5):
        for processes in living(state).values():
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    found.command_lines.add(" ".join(process.cmdline()))


def holding(words: dict[str, bytes], text: bytes) -> list[str]:
    """What the words in a text are called; the words themselves belong into no report."""
    return [name for name, word in words.items() if word in text]


def test_no_private_word_crosses_the_wire_in_the_clear(stack: LiveStack, scene: Scene) -> None:
    if not scene.captured:
        pytest.skip("a capture needs CAP_NET_RAW: run the tests as root, as CI does")
    assert scene.dropped == 0
    ports = load_state(stack.home).ports
    for name in ("gateway", "uploads-1", "streams-1", "signin-1", "kafka", "kafka-people", "postgres", "directory"):
        # Either instance of what is behind the gateway may have been asked.
        both = {ports[name], ports.get(name.replace("-1", "-2"), 0)}
        assert any(both & set(flow) for flow in scene.flows), f"nothing crossed to {name}"
    words = scene.private | scene.secret
    seen = {flow: names for flow, said in scene.flows.items() if (names := holding(words, said))}
    control = {flow for flow in seen if scene.control in flow}
    assert {name for flow in control for name in seen[flow]} == {"query"}, "the capture sees what is in the clear"
    assert {flow: names for flow, names in seen.items() if flow not in control} == {}


def test_no_secret_and_no_private_label_is_in_a_log(stack: LiveStack, scene: Scene) -> None:
    looked, found = 0, {}
    for path in [*(stack.home / "logs").rglob("*"), *(stack.home / "dagster").rglob("*")]:
        if path.is_file():
            looked += 1
            if names := holding(scene.secret | {"label": scene.private["label"]}, path.read_bytes()):
                found[path.name] = names
    assert looked > 10
    assert found == {}


@pytest.mark.parametrize("database", [PLATFORM_DATABASE, DAGSTER_DATABASE, MLFLOW_DATABASE])
def test_no_secret_is_in_a_table_of_a_database(stack: LiveStack, scene: Scene, database: str) -> None:
    """Events, runs, tags and everything else that GraphQL answers from; sessions too, which are kept as hashes."""
    looked, found = 0, {}
    for table, text in dumped(stack, database):
        looked += len(text)
        if names := holding(scene.secret | {"label": scene.private["label"]}, text):
            found[table] = names
    assert looked > 100
    assert found == {}


def test_no_secret_is_in_the_process_list(stack: LiveStack, scene: Scene) -> None:
    lines = "\n".join(scene.command_lines).encode()
    assert b"stack.webserver" in lines and b"postgres" in lines
    assert holding(scene.secret, lines) == []


def test_no_page_of_graphql_tells_a_secret(stack: LiveStack, scene: Scene) -> None:
    """Runs with their configuration and tags, the instance's own, resources, and the last events of every asset."""
    query = """{
      runsOrError(limit: 50) { ... on Runs { results { runId runConfigYaml tags { key value }
        eventConnection { events { __typename ... on MessageEvent { message } } } } } }
      instance { info }
      topLevelResourceDetailsOrError: repositoriesOrError { ... on RepositoryConnection { nodes {
        name allTopLevelResourceDetails { name configuredValues { key value } } } } }
      assetNodes { assetKey { path } assetMaterializations(limit: 3) { metadataEntries { label
        ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } } } }
    }"""
    with stack_client(stack) as client:
        answer = client.post("/dagster/graphql", json={"query": query})
    assert answer.status_code == 200 and "errors" not in answer.json(), answer.text[:2000]
    assert len(answer.content) > 5000
    assert holding(scene.secret | {"label": scene.private["label"]}, answer.content) == []


def stack_client(stack: LiveStack) -> httpx.Client:
    """The stack's owner at the gateway."""
    from stack.signing import owner_client

    return owner_client(Path(stack.home))
