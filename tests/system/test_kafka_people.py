"""People at Kafka: by tokens of sign-in's, with the rules of their groups, and under no name of a service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives import serialization

from access.policy import load_policy
from access.principal import KAFKA_CLAIM, kafka_principal
from resources.kafka import person_config
from resources.kafka_rights import KafkaRights
from stack.paths import Layout
from stack.service_names import KEEPER
from stack.signing import signer
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack
ADA = "ada-of-kafka"


@pytest.fixture(scope="module")
def members(stack: LiveStack) -> Iterator[KafkaRights]:
    """The rules with one person more, who is in ml-engineers; without her after."""
    policy, settings = load_policy(), stack.settings("admin")
    rights = KafkaRights(settings, policy, {ADA: ["ml-engineers"]})
    # The stack would follow its own directory, which knows nobody of this name.
    with stack.without(KEEPER):
        rights.apply()
        yield rights
        KafkaRights(settings, policy, {}).apply()


class Asking:
    """A person's client with a token; `why` is what the broker last said to it."""

    def __init__(self, stack: LiveStack, token: str) -> None:
        self.why = ""
        self._config = {
            **person_config(stack.status()["kafka"]["people"]["bootstrap.servers"], Layout(stack.home).ca),
            "oauth_cb": lambda _: (token, time.time() + 3600),
            "error_cb": self._told,
            "log_level": "0",
        }

    def admin(self) -> AdminClient:
        """A client that has its token."""
        client = AdminClient(self._config)
        client.poll(0)
        return client

    def topics(self) -> set[str]:
        """What it sees; fails where the broker lets nobody in by this token."""
        return set(self.admin().list_topics(timeout=8).topics)

    def refused(self) -> str:
        """Why the broker does not let it in; fails where it does."""
        return self.shut_out(AdminClient(self._config))

    def shut_out(self, client: AdminClient, seconds: float = 10) -> str:
        """Why the broker lets a client in no more; fails where it does."""
        deadline = time.monotonic() + seconds
        while not self.why:
            client.poll(0.2)
            assert time.monotonic() < deadline, "the broker said nothing"
        with pytest.raises(KafkaException):
            client.list_topics(timeout=1)
        return self.why

    def producer(self) -> Producer:
        """A producer that gives up soon."""
        return Producer({**self._config, "message.timeout.ms": "5000"})

    def consumer(self, group: str) -> Consumer:
        """A consumer of that group."""
        return Consumer({**self._config, "group.id": group, "auto.offset.reset": "earliest"})

    def _told(self, error: KafkaError) -> None:
        if error.name() != "_ALL_BROKERS_DOWN":
            self.why = error.str()


def first_error(consumer: Consumer) -> str:
    """The name of the first error it meets."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error() is not None:
            return message.error().name()
    raise AssertionError("no error came")


def signed(stack: LiveStack, claims: dict[str, object]) -> str:
    """A token by the stack's own key that says what it likes."""
    layout, settings = Layout(stack.home), stack.settings()
    now = datetime.now(UTC)
    said = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": "ada",
        "groups": [],
        "iat": now,
        "exp": now + timedelta(minutes=5),
    }
    key = serialization.load_pem_private_key((layout.secrets / "signer.key").read_bytes(), password=None)
    kid = jwt.get_unverified_header(stack.token("ada"))["kid"]
    kept = {name: value for name, value in (said | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm="ES256", headers={"kid": kid})


def test_a_member_reads_what_the_policy_gives_the_group_and_sees_no_other_topic(
    stack: LiveStack, members: KafkaRights
) -> None:
    settings = stack.settings()
    ada = Asking(stack, stack.token(ADA))
    assert ada.topics() == {settings.recognised_topic}
    assert Asking(stack, stack.token("nobody-of-kafka")).topics() == set()
    consumer = ada.consumer("ml-engineers-trial")
    try:
        consumer.subscribe([settings.recognised_topic])
        deadline = time.monotonic() + 30
        while not consumer.assignment():
            message = consumer.poll(0.5)
            assert message is None or message.error() is None, message
            assert time.monotonic() < deadline, ada.why
    finally:
        consumer.close()


def test_a_member_may_not_use_a_group_of_others_nor_write(stack: LiveStack, members: KafkaRights) -> None:
    topic = stack.settings().recognised_topic
    consumer = Asking(stack, stack.token(ADA)).consumer("recogniser")
    try:
        consumer.subscribe([topic])
        assert first_error(consumer) == "GROUP_AUTHORIZATION_FAILED"
    finally:
        consumer.close()
    failed: list[str] = []
    producer = Asking(stack, stack.token(ADA)).producer()
    producer.produce(topic, b"x", on_delivery=lambda error, _: failed.append(error.name() if error else "delivered"))
    producer.flush(10)
    assert failed == ["TOPIC_AUTHORIZATION_FAILED"]


@pytest.mark.parametrize("service", ["admin", "broker", "uploads", "dagster"])
def test_a_token_of_a_services_name_has_none_of_its_rights(stack: LiveStack, service: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        signer(Layout(stack.home), stack.settings()).token(service)
    # Had an issuer given that name all the same, it would be another one here.
    as_it_would_be = {"sub": service, KAFKA_CLAIM: kafka_principal(service)}
    assert Asking(stack, signed(stack, as_it_would_be)).topics() == set()
    assert Asking(stack, signed(stack, {"sub": service})).refused()


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "another"},
        {"iss": "https://elsewhere.example"},
        {"exp": datetime(2026, 1, 1, tzinfo=UTC)},
        {KAFKA_CLAIM: None},
    ],
    ids=["audience", "issuer", "expired", "claim"],
)
def test_a_token_that_is_not_for_it_lets_nobody_in(stack: LiveStack, wrong: dict[str, object]) -> None:
    right = {KAFKA_CLAIM: kafka_principal(ADA)}
    assert Asking(stack, signed(stack, right)).topics() is not None
    assert "invalid_token" in Asking(stack, signed(stack, right | wrong)).refused()


def test_a_token_by_another_key_lets_nobody_in(stack: LiveStack) -> None:
    forged = jwt.encode({"sub": ADA, KAFKA_CLAIM: kafka_principal(ADA)}, "a" * 64, algorithm="HS256")
    assert "invalid_token" in Asking(stack, forged).refused()


def test_a_new_signing_key_is_known_without_a_restart(stack: LiveStack) -> None:
    before = stack.token(ADA)
    pid = stack.pid("kafka")
    stack.run("signing", "rotate")
    after = stack.token(ADA)
    assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]
    for token in (before, after):
        assert Asking(stack, token).topics() is not None
    assert stack.pid("kafka") == pid


def test_who_leaves_the_group_loses_it_while_connected(stack: LiveStack, members: KafkaRights) -> None:
    client = Asking(stack, stack.token(ADA)).admin()
    assert set(client.list_topics(timeout=8).topics) == {stack.settings().recognised_topic}
    KafkaRights(stack.settings("admin"), load_policy(), {}).apply()
    try:
        assert set(client.list_topics(timeout=8).topics) == set()
    finally:
        assert [change.missing for change in members.apply()] != []
    assert members.plan() == ()


def test_a_connection_ends_with_its_token(stack: LiveStack, members: KafkaRights) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=4)
    ada = Asking(stack, signed(stack, {"sub": ADA, KAFKA_CLAIM: kafka_principal(ADA), "exp": ends}))
    client = ada.admin()
    assert client.list_topics(timeout=3).topics
    assert ada.shut_out(client, 20)
