"""The running stack, seen from outside: what `status` promises works, and what must be refused is."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import jwt
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from cli.hostile import sound_png
from stack.paths import Layout
from stack.processes import living
from stack.signing import owner_client
from stack.state import load_state
from tests.live_stack import LiveStack
from transforms.tables import TABLES

pytestmark = pytest.mark.stack
SERVICES = {
    "postgres",
    "kafka",
    "code-server",
    "daemon",
    "webserver",
    "mlflow",
    "uploads-1",
    "uploads-2",
    "streams-1",
    "webserver-read-only",
}
SERVICES |= {"streams-2", "recogniser", "directory", "signin-1", "signin-2", "access", "gateway"}


def test_status_says_everything_that_a_client_needs(stack: LiveStack):
    report = json.loads(stack.run("status", "--json").stdout)
    assert report == stack.status(), "the other tests ask in their own process"
    assert all(set(service) == {"state", "url", "pid", "log"} for service in report["services"].values())
    assert set(report["kafka"]) == {"topic", "config", "people"}
    assert set(report["lake"]) == {"root", "tables"}
    assert set(report["lake"]["tables"]) == {spec.name for spec in TABLES}
    assert (set(report["postgres"]), set(report["dagster"])) == ({"dsn"}, {"url", "ca", "token_command"})
    assert set(report["mlflow"]) == {"url", "ca", "token_command"}
    assert {"url", "token_command"} <= set(report["uploads"])
    assert set(report["services"]) == SERVICES
    assert {service["state"] for service in report["services"].values()} == {"running"}
    assert all(Path(service["log"]).is_file() for service in report["services"].values())
    assert all(psutil.pid_exists(service["pid"]) for service in report["services"].values())
    assert report["lake"]["tables"]["images/raw_images"].startswith(report["lake"]["root"])
    assert report["uploads"]["url"] == report["gateway"]["url"] == report["services"]["gateway"]["url"]
    assert report["streams"]["url"] == report["gateway"]["url"].replace("https://", "wss://") + "/v1/stream"


def test_a_second_up_is_harmless_and_starts_nothing_anew(stack: LiveStack):
    before = {name: service["pid"] for name, service in stack.status()["services"].items()}
    said = stack.run("up").stderr
    assert said.count("runs already") == len(SERVICES)
    assert {name: service["pid"] for name, service in stack.status()["services"].items()} == before


def test_two_ups_at_once_do_not_race(stack: LiveStack):
    before = {name: service["pid"] for name, service in stack.status()["services"].items()}
    command = [str(Path(os.sys.executable).with_name("darkroom")), "--home", str(stack.home), "up"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    for process in both:
        assert process.stderr is not None
        process.stderr.close()
    assert {name: service["pid"] for name, service in stack.status()["services"].items()} == before


def test_the_dsn_of_status_works_as_it_stands_and_may_read_only(stack: LiveStack):
    with psycopg.connect(stack.status()["postgres"]["dsn"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("operator",)
        connection.execute("SELECT count(*) FROM images.image_status")
        tls = connection.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert tls == ("TLSv1.3",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM images.image_status")


def test_the_kafka_properties_of_status_write_and_read(stack: LiveStack):
    report = stack.status()["kafka"]
    places: list[tuple[int, int]] = []
    producer = Producer(report["config"])
    image = sound_png(40, 40)
    producer.produce(
        report["topic"],
        image,
        on_delivery=lambda error, message: (
            places.append((message.partition(), message.offset())) if not error else None
        ),
    )
    assert producer.flush(20) == 0
    ((partition, offset),) = places
    consumer = Consumer({**report["config"], "group.id": "operator-test", "enable.auto.commit": "false"})
    try:
        consumer.assign([TopicPartition(report["topic"], partition, offset)])
        message = consumer.poll(20)
    finally:
        consumer.close()
    assert message is not None and message.error() is None
    assert (message.offset(), message.value()) == (offset, image)


def test_the_dagster_of_status_has_its_code_location_loaded(stack: LiveStack):
    query = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
    with owner_client(stack.home) as client:
        answer = client.post("/dagster/graphql", json={"query": query}).json()
    entries = answer["data"]["workspaceOrError"]["locationEntries"]
    assert [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]


def test_what_may_wait_gives_way_to_those_who_answer_and_so_do_its_runs(stack: LiveStack):
    pids = {name: service["pid"] for name, service in stack.status()["services"].items()}
    answers = max(
        psutil.Process(pids[name]).nice() for name in ("kafka", "recogniser", "streams-1", "uploads-1", "gateway")
    )
    server = psutil.Process(pids["code-server"])
    # A run is started by any of the server's threads, and has the priority of that one.
    threads = [os.getpriority(os.PRIO_PROCESS, thread.id) for thread in server.threads()]
    assert min(*threads, psutil.Process(pids["mlflow"]).nice()) > answers


def test_the_token_command_prints_a_token_and_nothing_else(stack: LiveStack):
    command = stack.status()["uploads"]["token_command"]
    printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert len(printed.split()) == 1
    assert printed.count(".") == 2


def test_the_token_of_the_command_is_the_one_that_the_other_tests_sign_in_their_own_process(stack: LiveStack):
    printed = stack.run("token", "--subject", "ada", "--group", "operators", "--group", "labellers").stdout.strip()
    claims, own = (
        jwt.decode(token, options={"verify_signature": False})
        for token in (printed, stack.token("ada", ("operators", "labellers")))
    )
    assert (claims["sub"], claims["groups"]) == ("ada", ["operators", "labellers"])
    for moment in ("iat", "exp", "nbf", "jti"):
        claims.pop(moment, None), own.pop(moment, None)
    assert claims == own


def test_everything_listens_on_loopback_only(stack: LiveStack):
    listening = []
    for process in (one for processes in living(load_state(stack.home)).values() for one in processes):
        # A session of PostgreSQL may end between two looks; what has ended listens nowhere.
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("inet")
            listening += [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert len(listening) >= 6
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_no_secret_is_on_a_command_line_and_no_key_can_be_read_by_others(stack: LiveStack):
    layout = Layout(stack.home)
    secrets = [
        *layout.tls.glob("*.key"),
        *layout.tls.glob("*.pem"),
        *layout.secrets.iterdir(),
        layout.kafka / "broker.pem",
    ]
    assert len(secrets) >= 6
    assert {oct(path.stat().st_mode & 0o777) for path in secrets} == {"0o600"}
    for folder in (layout.secrets, layout.keys, layout.tls, layout.state):
        assert folder.stat().st_mode & 0o077 == 0
    lines = " ".join(
        " ".join(one.cmdline()) for processes in living(load_state(stack.home)).values() for one in processes
    )
    assert "PRIVATE KEY" not in lines
    assert "password" not in lines.lower()


@pytest.mark.parametrize("name", ["kafka", "kafka-controller", "postgres"])
def test_a_client_without_a_certificate_is_refused(stack: LiveStack, name: str):
    port = load_state(stack.home).ports[name]
    if name == "postgres":
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            psycopg.connect(f"host=127.0.0.1 port={port} user=operator dbname=platform sslmode=require sslcert=/none")
        return
    context = ssl.create_default_context(cafile=stack.ca)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        pytest.raises(ssl.SSLError, match=r"BAD_CERTIFICATE|CERTIFICATE_REQUIRED"),
        context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        # In TLS 1.3 the server's refusal arrives with its first answer.
        encrypted.recv(1)


def test_plaintext_is_refused_by_postgres(stack: LiveStack):
    port = load_state(stack.home).ports["postgres"]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(f"host=127.0.0.1 port={port} user=operator dbname=platform sslmode=disable")


@pytest.mark.parametrize("name", ["kafka", "kafka-controller"])
def test_plaintext_is_refused_by_kafka(stack: LiveStack, name: str):
    address = f"127.0.0.1:{load_state(stack.home).ports[name]}"
    plain = AdminClient({"bootstrap.servers": address, "security.protocol": "plaintext", "log_level": "0"})
    with pytest.raises(KafkaException):
        plain.list_topics(timeout=5)


def test_a_certificate_is_good_for_its_own_role_only(stack: LiveStack):
    dsn = stack.status()["postgres"]["dsn"]
    for role in ("postgres", "dagster", "uploads", "streams"):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(dsn.replace("user=operator", f"user={role}"))


@pytest.mark.parametrize("name", ["uploads", "streams", "dagster"])
def test_nobodys_role_can_remove_a_state_but_the_purges(stack: LiveStack, name: str):
    statement = "DELETE FROM images.image_status WHERE id = 'no such image'"
    with (
        psycopg.connect(stack.settings(name).postgres_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
    with psycopg.connect(stack.settings("upkeep").postgres_dsn) as upkeep:
        upkeep.execute(statement)


@pytest.mark.parametrize("door", ["uploads", "streams"])
def test_the_doors_identity_cannot_read_the_topic_and_says_so_clearly(stack: LiveStack, door: str):
    from resources.kafka import client_config

    settings = stack.settings(door)
    consumer = Consumer({**client_config(settings), "group.id": "operator-x", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(settings.topic, 0, 0)])
        refused = _first_error(consumer)
    finally:
        consumer.close()
    assert refused in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def test_dagsters_identity_cannot_write_to_the_topic(stack: LiveStack):
    from resources.kafka import client_config

    settings = stack.settings("dagster")
    outcome: list[KafkaError | None] = []
    producer = Producer({**client_config(settings), "message.timeout.ms": "15000"})
    producer.produce(settings.topic, b"x", on_delivery=lambda error, _: outcome.append(error))
    producer.flush(20)
    assert outcome[0] is not None
    assert outcome[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.fixture
def other(tmp_path: Path) -> Layout:
    """Another authority of the same name, and a certificate of its for the identity `operator`."""
    from datetime import UTC, datetime

    from stack.ca import issue

    made = Layout(tmp_path)
    made.tls.mkdir()
    made.secrets.mkdir()
    issue(made, ["operator"], datetime.now(UTC))
    return made


def test_a_broker_of_another_authority_is_refused(stack: LiveStack, other: Layout):
    from resources.kafka import watermarks
    from resources.kafka_errors import KafkaUnavailable

    config = {**stack.status()["kafka"]["config"], "ssl.ca.location": str(other.ca), "log_level": "0"}
    said: list[str] = []
    client = AdminClient({**config, "error_cb": lambda error: said.append(str(error))})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=5)
    client.poll(1)  # what stands behind the failure comes by the callback
    assert any("certificate verify failed" in error for error in said), said
    settings = stack.settings().model_copy(update={"kafka_ca": other.ca, "kafka_timeout_seconds": 2.0})
    with pytest.raises(KafkaUnavailable, match="certificate verify failed"):
        watermarks(settings, settings.topic)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(stack.url, verify=ssl.create_default_context(cafile=str(other.ca)))


@pytest.mark.parametrize("name", ["kafka", "kafka-controller"])
def test_a_client_certificate_of_another_authority_is_refused_by_kafka(stack: LiveStack, other: Layout, name: str):
    """It names an identity that exists: whoever took names without asking who signed them would let it in."""
    port = load_state(stack.home).ports[name]
    own = Layout(stack.home)

    def first_answer(owner: Layout, identity: str) -> bytes:
        context = ssl.create_default_context(cafile=stack.ca)
        context.load_cert_chain(owner.certificate(identity), owner.key(identity))
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            encrypted.settimeout(0.5)
            return encrypted.recv(1)

    with pytest.raises(ssl.SSLError, match="ALERT_CERTIFICATE_UNKNOWN"):
        first_answer(other, "operator")
    with pytest.raises(TimeoutError):
        first_answer(own, "operator")  # taken: the broker waits for a request


def test_a_kafka_client_with_a_certificate_of_another_authority_is_told_that_it_is_the_certificate(
    stack: LiveStack, other: Layout
):
    from resources.kafka import watermarks
    from resources.kafka_errors import KafkaUnavailable

    foreign = {"kafka_certificate": other.certificate("operator"), "kafka_key": other.key("operator")}
    settings = stack.settings().model_copy(update={**foreign, "kafka_timeout_seconds": 2.0})
    with pytest.raises(KafkaUnavailable, match="alert certificate unknown"):
        watermarks(settings, settings.topic)


def test_a_client_certificate_of_another_authority_is_refused_by_postgres(stack: LiveStack, other: Layout):
    from psycopg.conninfo import make_conninfo

    foreign = {"sslcert": str(other.certificate("operator")), "sslkey": str(other.key("operator"))}
    with pytest.raises(psycopg.OperationalError, match="alert unknown ca"):
        psycopg.connect(make_conninfo(stack.status()["postgres"]["dsn"], **foreign))


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, 200),
        ({"Origin": "SELF"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_dagsters_web_server_answers_its_own_pages_only(stack: LiveStack, headers: dict[str, str], answer: int):
    headers = {name: value.replace("SELF", stack.url) for name, value in headers.items()}
    with owner_client(stack.home) as client:
        got = client.post("/dagster/graphql", json={"query": "{ version }"}, headers=headers)
    assert got.status_code == answer


@pytest.mark.parametrize("name", ["webserver", "webserver-read-only"])
def test_dagsters_web_servers_are_on_unix_sockets_of_their_owner_and_ask_for_a_token(stack: LiveStack, name: str):
    path = load_state(stack.home).run / f"{name}.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://dagster") as client:
        assert client.get("/dagster/server_info").json()["dagster_version"]
        assert client.post("/dagster/graphql", json={"query": "{ version }"}).status_code == 401
        assert client.get("/dagster/").status_code == 401


@pytest.mark.parametrize("name", ["daemon", "uploads-1", "postgres", "kafka", "mlflow"])
def test_a_service_that_was_killed_comes_back_by_itself(stack: LiveStack, name: str):
    pid = stack.kill(name)
    deadline = time.monotonic() + 120
    # Health alone may still be the killed one's: the daemon's is its last heartbeat.
    while (now := stack.status()["services"][name]["pid"]) in (None, pid):
        assert time.monotonic() < deadline, f"{name} is {now} after {pid} was killed"
        time.sleep(0.2)
    stack.wait_healthy(name)
    stack.wait_healthy()


def test_a_run_can_be_asked_for_right_after_postgresql_was_started_again(stack: LiveStack):
    """The web server's kept connections are dead then; the first person to launch a run used to get an error."""
    dagster = stack.dagster()
    try:
        dagster.launch("rebuild_status", {})
        stack.kill("postgres")
        stack.wait_healthy()
        assert dagster.launch("rebuild_status", {})
    finally:
        dagster.close()


def test_the_port_of_a_url_is_the_one_that_was_kept(stack: LiveStack):
    ports = load_state(stack.home).ports
    assert urlsplit(stack.url).port == ports["gateway"]


def _first_error(consumer: Consumer) -> int | None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and message.error() is not None:
            return message.error().code()
    return None
