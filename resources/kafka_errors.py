"""What librdkafka and the brokers say when something is wrong, as errors of ours: what passes, and what stays.

librdkafka hides many causes: a wrong certificate shows only in its error callback, and the answer then says "timed
out". So the last such error is kept (`ErrorMemory`) and named in ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.failures import PermanentFailure, TransientFailure
from resources.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


class KafkaUnavailable(TransientFailure):
    """No broker answered in time."""


class KafkaRefused(PermanentFailure):
    """The broker answered and refused: authorisation, or a setting it does not take."""


class TopicMissing(PermanentFailure):
    """The broker holds no topic of that name."""


class ErrorMemory:
    """Remembers the last error that librdkafka told its callback, for our own messages."""

    def __init__(self) -> None:
        self.last: str = ""

    def __call__(self, error: KafkaError) -> None:
        """librdkafka's `error_cb`."""
        # "All brokers are down" always follows the cause and says less.
        if error.name() != "_ALL_BROKERS_DOWN" or not self.last:
            self.last = error.str()


_PASSING = frozenset(
    {
        -195,  # _TRANSPORT: connection lost or refused
        -193,  # _RESOLVE
        -192,  # _MSG_TIMED_OUT
        -187,  # _ALL_BROKERS_DOWN
        -185,  # _TIMED_OUT
        -181,  # _SSL: the handshake fails, also while a broker restarts
        -169,  # _AUTHENTICATION
        5,  # LEADER_NOT_AVAILABLE
        6,  # NOT_LEADER_FOR_PARTITION: a topic made just now
        7,  # REQUEST_TIMED_OUT
        9,  # REPLICA_NOT_AVAILABLE
        13,  # NETWORK_EXCEPTION
        14,  # COORDINATOR_LOAD_IN_PROGRESS
        15,  # COORDINATOR_NOT_AVAILABLE
        16,  # NOT_COORDINATOR
        19,  # NOT_ENOUGH_REPLICAS
        20,  # NOT_ENOUGH_REPLICAS_AFTER_APPEND
        41,  # NOT_CONTROLLER
        56,  # KAFKA_STORAGE_ERROR: the broker's disk; another may lead
        70,  # FETCH_SESSION_ID_NOT_FOUND
        71,  # INVALID_FETCH_SESSION_EPOCH
        72,  # LISTENER_NOT_FOUND
        74,  # FENCED_LEADER_EPOCH
        75,  # UNKNOWN_LEADER_EPOCH
        78,  # OFFSET_NOT_AVAILABLE: a new leader does not know yet how far it may tell
        80,  # PREFERRED_LEADER_NOT_AVAILABLE
        83,  # ELIGIBLE_LEADERS_NOT_AVAILABLE
        89,  # THROTTLING_QUOTA_EXCEEDED
        100,  # UNKNOWN_TOPIC_ID: topic made anew just now
        103,  # INCONSISTENT_TOPIC_ID
        106,  # FETCH_SESSION_TOPIC_ID_ERROR
    }
)
"""Errors that pass by themselves: librdkafka's own of connections, and of the brokers' those that Kafka's protocol
guide calls retriable (its table of error codes), for librdkafka sets `retriable` for transactions alone. A leader that
dies shows several of them in a few seconds."""


def passes(error: KafkaError) -> bool:
    """Whether the same question may be answered a moment later."""
    return error.retriable() or error.code() in _PASSING


def failure(settings: Settings, error: KafkaError, what: str, last_error: str, topic: str = "") -> Exception:
    """The exception of ours that an error of librdkafka's stands for."""
    from confluent_kafka import KafkaError

    facts: dict[str, str | int | float] = {"bootstrap": settings.kafka_bootstrap, "error": error.name()}
    where = f"Kafka at {settings.kafka_bootstrap}"
    code = error.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return TopicMissing(
            f"{where} was asked {what}, and holds no such topic (or this identity may not see it). "
            "`darkroom up` makes the platform's topics; `darkroom status` shows what runs.",
            {**facts, "topic": topic},
        )
    if "AUTHORIZATION_FAILED" in error.name():
        return KafkaRefused(
            f"{where} was asked {what}, and refused: {error.str()}. This process's identity is the common name of "
            f"{settings.kafka_certificate or 'no certificate'}; its rights come from access/policy.yaml.",
            facts,
        )
    cause = f" Last error of the client: {last_error}." if last_error else ""
    if passes(error) or "TIMED_OUT" in error.name():
        return KafkaUnavailable(
            f"{where} was asked {what}, and gave no answer within {settings.kafka_timeout_seconds:g} s: "
            f"{error.str()}.{cause} Is the broker up (`darkroom status`)? What was acknowledged waits there.",
            facts,
        )
    return KafkaRefused(f"{where} was asked {what}, and refused: {error.name()}, {error.str()}.{cause}", facts)
