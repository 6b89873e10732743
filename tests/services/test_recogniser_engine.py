"""What the recogniser has under way: what is committed, how much is taken at once, and what a bug or a wait costs."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

import pytest

from resources.records import Record
from resources.settings import Settings
from services.door.delivery import Delivery
from services.recogniser.answering import NAMED, Answer, Outcome
from services.recogniser.consuming import group_config, group_of
from services.recogniser.metrics import FAILED, Metrics
from services.recogniser.troubles import Troubles
from services.recogniser.under_way import Line, UnderWay
from services.recogniser.workers import Workers
from tests.resources.developing.bronze_rows import DAY, NOW, TOPIC, TOPIC_ID
from transforms.landing_protocol import Position

FIRST = Position(TOPIC, 0, TOPIC_ID)


def test_nothing_is_committed_beyond_what_is_not_answered() -> None:
    under_way = UnderWay(10, 1000)
    under_way.begin([0])
    line = under_way.line(0)
    assert line is not None
    taken = [_record(offset) for offset in (5, 6, 9)]
    for record in taken:
        under_way.take(record, line)
    under_way.end(taken[2], line, answered=True)
    assert under_way.committable() == {}
    under_way.end(taken[0], line, answered=True)
    assert under_way.committable() == {0: 6}
    under_way.end(taken[1], line, answered=True)
    assert under_way.committable() == {0: 10}


def test_of_a_partition_that_is_taken_away_only_what_was_answered_is_committed() -> None:
    under_way = UnderWay(10, 1000)
    under_way.begin([0, 1])
    line = under_way.line(0)
    assert line is not None
    taken = [_record(offset) for offset in (5, 6, 7)]
    for record in taken:
        under_way.take(record, line)
    under_way.close([0])
    for record, answered in zip(taken, (True, False, True), strict=True):
        under_way.end(record, line, answered=answered)
    assert under_way.drain([0], 0) == {0: 6}
    assert under_way.line(0) is None and under_way.line(1) is not None
    assert under_way.images == under_way.bytes == 0


class Broken:
    """Answers, and a broker for them, of which either has a bug that the first record meets."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.met: list[str] = []

    def answer(self, record: Record) -> Outcome:
        self._meet("answering")
        return Outcome(NAMED, (Answer("digits", b"k", [], b"v"),))

    def submit(self, key: bytes, value: bytes, headers: object) -> Future[Delivery]:
        self._meet("delivering")
        done: Future[Delivery] = Future()
        done.set_result(Delivery("answers", 0, 0))
        return done

    def _meet(self, where: str) -> None:
        if where == self.where and not self.met:
            self.met.append(where)
            raise ValueError("a bug")


@pytest.mark.parametrize("where", ["answering", "delivering"])
def test_a_record_that_meets_a_bug_is_counted_and_traced_and_the_next_is_answered(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Bug prevented: one in answering was counted without a trace, one in delivering traced and not counted."""
    broken, metrics, under_way, line = Broken(where), Metrics(), UnderWay(2, 100), Line()
    workers = Workers(1, broken, broken, under_way, metrics, Troubles(), threading.Event(), 1.0)  # type: ignore[arg-type]
    for offset in (5, 6):
        record = _record(offset)
        under_way.take(record, line)
        workers.hand_on(record, line)
    workers.start()
    workers.end(10)
    counted = {one: metrics.records.labels(one)._value.get() for one in (FAILED, NAMED)}
    assert counted == {FAILED: 1, NAMED: 1}
    (told,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert told.exc_info is not None and told.exc_info[0] is ValueError
    assert (line.next, under_way.images) == (7, 0)


def test_there_is_no_room_beyond_the_bounds_of_images_or_of_bytes() -> None:
    under_way = UnderWay(2, 100)
    under_way.begin([0])
    line = under_way.line(0)
    assert line is not None
    big = _record(0, b"x" * 150)
    under_way.take(big, line)
    assert not under_way.wait_room(0)
    under_way.end(big, line, answered=True)
    small = [_record(offset, b"x") for offset in (1, 2)]
    under_way.take(small[0], line)
    assert under_way.wait_room(0) and not under_way.wait_room(0, 0.5)
    under_way.take(small[1], line)
    assert not under_way.wait_room(0)


def _record(offset: int, value: bytes = b"12345") -> Record:
    return Record(TOPIC, TOPIC_ID, 0, offset, DAY, NOW, None, [], memoryview(value))


def test_what_is_waited_for_is_told_while_anybody_waits_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    with caplog.at_level(logging.INFO), troubles.waiting("keys", "away"), troubles.waiting("keys", "still away"):
        assert troubles.told("keys") == "still away"
        assert troubles.told("kafka") == "ok"
    assert troubles.told("keys") == "ok"
    assert [record.getMessage() for record in caplog.records] == ["waiting", "no longer waiting"]


def test_the_group_is_cooperative_and_gives_up_a_dead_member_soon() -> None:
    settings = Settings(topic="some.images", kafka_extra={"fetch.wait.max.ms": "7"})
    config = group_config(settings)
    assert config["group.id"] == group_of(settings) == "recogniser-some.images"
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert int(config["session.timeout.ms"]) <= 10_000
    assert config["enable.auto.commit"] == "false"
    assert config["fetch.wait.max.ms"] == "7", "kafka_extra wins"
