"""What Kafka answers while a leader dies is taken for what it is: nothing yet, and no loss."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from resources.kafka import Admin
from resources.kafka_errors import KafkaRefused, KafkaUnavailable, failure, passes
from resources.settings import Settings

TOPIC_ID = "AAAAAAAAQACAAAAAAAAAAA"


class Brokers:
    """In the place of librdkafka's client: says these offsets, or raises these errors, one after the other."""

    def __init__(self, *said: int | KafkaError) -> None:
        self._said = list(said)

    def list_offsets(self, asked: Mapping[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        said = self._said.pop(0) if len(self._said) > 1 else self._said[0]
        answer: Future[Any] = Future()
        if isinstance(said, KafkaError):
            answer.set_exception(KafkaException(said))
        else:
            answer.set_result(SimpleNamespace(offset=said))
        return dict.fromkeys(asked, answer)

    def poll(self, seconds: float) -> None:
        """Nothing waits."""


def admin_of(home: Path, monkeypatch: pytest.MonkeyPatch, *said: int | KafkaError) -> Admin:
    monkeypatch.setattr(Admin, "_describe", lambda self, topic: (TOPIC_ID, [0]))
    admin = Admin(Settings(home=home, kafka_bootstrap="127.0.0.1:1", kafka_timeout_seconds=1))
    admin.client = Brokers(*said)  # type: ignore[assignment]
    return admin


@pytest.mark.parametrize(
    "first",
    [-1001, -1, KafkaError(KafkaError.OFFSET_NOT_AVAILABLE), KafkaError(KafkaError.FENCED_LEADER_EPOCH)],
    ids=["no offset", "an unknown one", "not available", "fenced"],
)
def test_a_partition_without_a_leader_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int | KafkaError
) -> None:
    """Bug prevented: of three brokers one died, and landing stopped for good at a log that had lost all."""
    assert admin_of(tmp_path, monkeypatch, first, 3, first, 7).state("images.raw").partitions == {0: (3, 7)}


def test_one_that_gets_no_leader_is_away_and_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaUnavailable, match="Partition 0 has no leader that knows its offsets"):
        admin_of(tmp_path, monkeypatch, -1001).state("images.raw")


@pytest.mark.parametrize("name", ["NOT_ENOUGH_REPLICAS", "REPLICA_NOT_AVAILABLE", "KAFKA_STORAGE_ERROR"])
def test_what_the_protocol_calls_retriable_passes(name: str) -> None:
    error = KafkaError(getattr(KafkaError, name))
    assert passes(error)
    assert isinstance(failure(Settings(), error, "something", ""), KafkaUnavailable)


@pytest.mark.parametrize("name", ["INVALID_REPLICATION_FACTOR", "POLICY_VIOLATION", "TOPIC_AUTHORIZATION_FAILED"])
def test_what_stays_as_it_is_is_refused(name: str) -> None:
    error = KafkaError(getattr(KafkaError, name))
    assert not passes(error)
    assert isinstance(failure(Settings(), error, "something", ""), KafkaRefused)
