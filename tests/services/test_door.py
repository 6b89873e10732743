"""The parts behind every door: delivery to Kafka with its failures, and the projection written behind the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from resources.postgres import StatusRow, StatusUnavailable, furthest
from services.door.delivery import Delivery
from services.door.given import filename_of
from services.door.kafka_delivery import KafkaDeliverer
from services.door.problems import Kind, Problem
from services.door.projection import StatusWriter

DAY = date(2026, 3, 14)


@dataclass
class Told:
    """A delivery report's message."""

    where: tuple[str, int, int]

    def topic(self) -> str:
        return self.where[0]

    def partition(self) -> int:
        return self.where[1]

    def offset(self) -> int:
        return self.where[2]


@dataclass
class Client:
    """Stands in for librdkafka's producer; what `answer` says is reported at the next poll."""

    config: dict[str, Any]
    answer: KafkaError | None = None
    refuse: Exception | None = None
    metadata: Exception | None = None
    waiting: list[Callable[..., None]] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    asked: int = 0
    purged: bool = False

    def produce(self, topic: str, **record: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.topics.append(topic)
        self.waiting.append(record["on_delivery"])

    def poll(self, seconds: float) -> int:
        time.sleep(0.005)
        if self.answer is not HELD:
            self._report(self.answer)
        return 0

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.asked += 1
        if self.metadata is not None:
            raise self.metadata
        return type("Metadata", (), {"topics": {topic: type("Topic", (), {"error": None})}})

    def purge(self, **which: bool) -> None:
        self.purged = True

    def flush(self, seconds: float) -> int:
        self._report(KafkaError(KafkaError._PURGE_QUEUE) if self.purged else None)
        return 0

    def _report(self, error: KafkaError | None) -> None:
        waiting, self.waiting = self.waiting, []
        for report in waiting:
            report(error, Told(("images.raw", 1, 7)))


HELD = KafkaError(KafkaError._WAIT_COORD)  # a mark: reports are held back


@contextmanager
def delivering() -> Iterator[tuple[KafkaDeliverer, list[Client]]]:
    made: list[Client] = []

    def make(config: dict[str, Any]) -> Client:
        made.append(Client(config))
        return made[-1]

    deliverer = KafkaDeliverer({"bootstrap.servers": "broker.test:9092"}, "images.raw", make=make)  # type: ignore[arg-type]
    deliverer.start()
    try:
        yield deliverer, made
    finally:
        deliverer.close(1)


def refused(deliverer: KafkaDeliverer) -> Problem:
    with pytest.raises(Problem) as caught:
        deliverer.submit(b"k", b"v", []).result(5)
    return caught.value


def test_a_record_is_delivered_where_the_broker_says() -> None:
    with delivering() as (deliverer, _):
        assert deliverer.submit(b"k", b"v", []).result(5) == Delivery("images.raw", 1, 7)


def test_a_record_may_name_another_topic_of_the_same_producer() -> None:
    with delivering() as (deliverer, made):
        deliverer.submit(b"k", b"v", []).result(5)
        deliverer.submit(b"k", b"v", [], "images.labels").result(5)
        made[0].refuse = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
        with pytest.raises(Problem) as caught:
            deliverer.submit(b"k", b"v", [], "images.labels")
    assert made[0].topics == ["images.raw", "images.labels"]
    assert "on topic images.labels" in str(caught.value.log)


def test_a_record_that_was_not_acknowledged_in_time_is_kafka_away_and_the_reason_is_for_the_log() -> None:
    with delivering() as (deliverer, made):
        made[0].answer = KafkaError(KafkaError._MSG_TIMED_OUT)
        problem = refused(deliverer)
    assert (problem.kind, problem.retry_after) == (Kind.KAFKA_AWAY, 5)
    assert "broker.test:9092" in str(problem.log)
    assert "broker.test" not in problem.detail


def test_no_record_is_waited_for_longer_than_half_a_minute() -> None:
    deliverer = KafkaDeliverer({"delivery.timeout.ms": "300000"}, "images.raw", timeout_seconds=300)
    assert deliverer._config["delivery.timeout.ms"] < 30_000


def test_a_full_queue_refuses_at_once() -> None:
    with delivering() as (deliverer, made):
        made[0].refuse = BufferError()
        assert refused(deliverer).kind is Kind.BUSY


def test_a_record_the_topic_does_not_take_is_too_large_and_not_tried_again() -> None:
    with delivering() as (deliverer, made):
        made[0].refuse = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        problem = refused(deliverer)
    assert (problem.kind, problem.retry_after) == (Kind.TOO_LARGE, None)


def test_a_producer_that_ended_fatally_is_replaced_and_what_it_held_fails() -> None:
    with delivering() as (deliverer, made):
        made[0].answer = HELD
        held = deliverer.submit(b"k", b"v", [])
        made[0].config["error_cb"](KafkaError(KafkaError._FATAL, "epoch lost", True))
        with pytest.raises(Problem) as caught:
            held.result(5)
        assert caught.value.kind is Kind.KAFKA_AWAY
        assert (len(made), made[0].purged) == (2, True)
        assert deliverer.submit(b"k", b"v", []).result(5).offset == 7


def test_once_every_broker_is_reported_down_records_are_refused_soon_until_one_answers() -> None:
    with delivering() as (deliverer, made):
        made[0].metadata = KafkaException(KafkaError(KafkaError._TRANSPORT))
        made[0].config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
        assert [refused(deliverer).kind for _ in range(5)] == [Kind.KAFKA_AWAY] * 5
        assert made[0].asked == 1, "one question serves all who come within a second"
        made[0].metadata = None
        deliverer._refusal = None
        assert deliverer.submit(b"k", b"v", []).result(5).offset == 7
        assert deliverer.submit(b"k", b"v", []).result(5).offset == 7
        assert made[0].asked == 2


def test_a_stopped_deliverer_takes_nothing_more_and_has_flushed_what_it_had() -> None:
    with delivering() as (deliverer, made):
        made[0].answer = HELD
        last = deliverer.submit(b"k", b"v", [])
        deliverer.close(1)
        assert last.result(5).offset == 7
        assert refused(deliverer).kind is Kind.KAFKA_AWAY


class Store:
    """A projection that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.batches: list[list[StatusRow]] = []
        self.open = threading.Event()
        self.open.set()

    def put_many(self, rows: list[StatusRow]) -> None:
        self.open.wait(5)
        if self.away:
            raise StatusUnavailable("away")
        self.batches.append(list(rows))

    def get(self, id: str) -> StatusRow | None:
        return None

    def close(self) -> None:
        """Nothing to let go of."""


def accepted(number: int) -> StatusRow:
    return StatusRow(f"{number:026}", DAY, "p", "accepted")


def test_states_are_written_in_batches_and_answered_from_memory_until_then() -> None:
    store, dropped = Store(), []
    store.open.clear()
    writer = StatusWriter(store, dropped.append)
    writer.start()
    for number in range(700):
        writer.put(accepted(number))
    assert writer.waiting(accepted(699).id) == accepted(699)
    store.open.set()
    writer.close(5)
    assert sorted(row.id for batch in store.batches for row in batch) == [accepted(n).id for n in range(700)]
    assert max(len(batch) for batch in store.batches) <= 500
    assert (dropped, writer.waiting(accepted(699).id)) == ([], None)


@pytest.mark.alone
def test_states_that_postgresql_does_not_take_are_counted_and_block_nobody() -> None:
    store, dropped = Store(), []
    store.away = True
    writer = StatusWriter(store, dropped.append)
    writer.start()
    before = time.monotonic()
    for number in range(100):
        writer.put(accepted(number))
    assert time.monotonic() - before < 1
    writer.close(5)
    assert sum(dropped) == 100


def test_one_statement_holds_an_image_once_with_its_furthest_state() -> None:
    rows = [accepted(1), StatusRow(accepted(1).id, DAY, "p", "processed"), accepted(0), accepted(1)]
    assert [(row.id[-1], row.state) for row in furthest(rows)] == [("0", "accepted"), ("1", "processed")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("", None),
        ("..", None),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("a\x00b\nc.png", "abc.png"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_file_name_is_cleaned_of_folders_and_controls(given: str | None, kept: str | None) -> None:
    assert filename_of(given) == kept


def test_a_state_nobody_knows_and_a_reason_out_of_place_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="accepted, landed, quarantined, processed"):
        StatusRow("i", DAY, "p", "lost")
    with pytest.raises(ValueError, match="a quarantined image has a reason"):
        StatusRow("i", DAY, "p", "quarantined")
