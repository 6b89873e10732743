"""Landing against a real broker: each record once, as it was sent, and a stop at every loss."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition

from resources.kafka import client_config, watermarks
from resources.kafka_errors import KafkaUnavailable, TopicMissing
from resources.lake import CommitConflict, LakeFull
from resources.landing import GROUP, Lander
from resources.landing_losses import known_topic_id, landed_offsets
from resources.landing_writer import BatchWriter
from resources.settings import load_settings
from tests.live_stack import LiveStack
from tests.resources.raw_producer import produce_raw
from tests.resources.stream import Stream, own_stream, until_readable
from transforms.landing import Batch
from transforms.tables import RAW_IMAGES

pytestmark = pytest.mark.stack


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    """A topic of two partitions and an empty lake."""
    with own_stream(stack.settings("admin"), tmp_path) as made:
        yield made


def test_records_land_as_they_were_sent_whatever_they_hold(stream: Stream) -> None:
    large = os.urandom(20 * 1024 * 1024)
    stream.send([b"plain"], headers=[("v", b"1"), ("label", b"\xff\xfe"), ("empty", None)], key=b"\xc3\x28")
    stream.send([None, b"", large])
    result = stream.lander().land()
    rows = stream.rows()
    assert [row["payload"] for row in rows] == [b"plain", None, b"", large]
    assert [row["payload_sha256"] for row in rows] == [
        None if value is None else hashlib.sha256(value).digest() for value in (b"plain", None, b"", large)
    ]
    assert [row["key"] for row in rows] == [b"\xc3\x28", None, None, None]
    assert [row["headers"] for row in rows] == [
        [{"key": "v", "value": b"1"}, {"key": "label", "value": b"\xff\xfe"}, {"key": "empty", "value": None}],
        None,
        None,
        None,
    ]
    assert (result.records, result.bytes) == (4, 5 + len(large))
    assert all(abs(row["landed_at"] - row["timestamp"]) < timedelta(minutes=5) for row in rows)


def test_a_header_name_that_is_no_text_lands_with_a_sign_in_its_place(stream: Stream) -> None:
    for headers in ([(b"a", b"0")], [(b"v", b"1"), (b"\xff\xfe", b"2"), (b"z", b"\x80")], [(b"b", b"3")]):
        produce_raw(client_config(stream.settings), stream.topic, 0, b"k", b"value", headers)
    assert stream.lander().land().records == 3
    assert [[(pair["key"], pair["value"]) for pair in row["headers"]] for row in stream.rows()] == [
        [("a", b"0")],
        [("v", b"1"), ("\N{REPLACEMENT CHARACTER}", b"2"), ("z", b"\x80")],
        [("b", b"3")],
    ]


def test_a_second_landing_adds_only_what_is_new(stream: Stream) -> None:
    stream.send([b"a", b"b"])
    assert stream.lander().land().records == 2
    again = stream.lander().land()
    assert (again.records, again.commits) == (0, 0)
    stream.send([b"c"])
    stream.send([b"d"], partition=1)
    third = stream.lander().land()
    assert {p: (part.start, part.last, part.end) for p, part in third.partitions.items()} == {
        0: (2, 2, 3),
        1: (0, 0, 1),
    }
    assert stream.offsets() == {0: [0, 1, 2], 1: [0]}


def test_an_empty_topic_lands_nothing_and_is_remembered(stream: Stream) -> None:
    assert stream.lander().land().records == 0
    handle = stream.lake.open(RAW_IMAGES.name)
    assert known_topic_id(stream.lake, handle, stream.topic) == watermarks(stream.settings, stream.topic).topic_id


def test_a_run_ends_at_the_end_that_it_saw_at_its_start(stream: Stream) -> None:
    stream.send([os.urandom(200_000)] * 20)
    sent: list[int] = []

    def send_more(records: int, _: int) -> None:
        if not sent:
            sent.append(records)
            stream.send([b"late"] * 50)

    result = stream.lander().land(send_more)
    assert sent
    assert (result.records, result.partitions[0].end) == (20, 20)
    assert stream.offsets() == {0: list(range(20))}


def test_a_backlog_becomes_commits_of_the_size_that_is_set(stream: Stream) -> None:
    stream.send([os.urandom(100_000)] * 50)
    stream.send([os.urandom(100_000)] * 50, partition=1)
    reports: list[tuple[int, int]] = []
    result = stream.lander().land(lambda records, size: reports.append((records, size)))
    assert 4 <= result.commits <= 10
    assert reports[-1] == (100, 10_000_000)
    assert stream.offsets() == {0: list(range(50)), 1: list(range(50))}
    handle = stream.lake.open(RAW_IMAGES.name)
    assert landed_offsets(stream.lake, handle, stream.topic, result.topic_id, [0, 1]) == {0: 49, 1: 49}


@pytest.mark.parametrize(("flush_seconds", "commits"), [(3600.0, {1}), (1e-6, set(range(2, 101)))])
def test_a_backlog_that_comes_in_small_pieces_is_committed_at_the_interval_before_it_is_read_whole(
    stream: Stream, flush_seconds: float, commits: set[int]
) -> None:
    """Were size all that counts, what comes slowly would wait in memory until the run has read everything."""
    stream.send([os.urandom(1000)] * 100)
    # A run asks for ten records at first, and a fetch brings it two thousand bytes at most.
    trickle = {"fetch.message.max.bytes": "2000", "fetch.max.bytes": "2000", "message.max.bytes": "2000"}
    settings = stream.settings.model_copy(update={"flush_seconds": flush_seconds, "kafka_extra": trickle})
    reports: list[tuple[int, int]] = []
    result = Lander(settings, stream.lake).land(lambda records, size: reports.append((records, size)))
    assert result.commits in commits
    assert (result.records, result.bytes) == (100, 100_000)
    assert result.bytes < settings.flush_bytes / 10, "size alone could have asked for a commit"
    assert len(reports) == result.commits
    assert stream.offsets() == {0: list(range(100))}


def test_one_commit_holds_records_of_several_days(stream: Stream) -> None:
    today = datetime.now(UTC).date()
    days = [today, today - timedelta(days=1), today - timedelta(days=3)]
    for day in days:
        stream.send([b"x"], headers=[("day", day.isoformat().encode())])
    result = stream.lander().land()
    assert result.commits == 1
    assert [row["day"] for row in stream.rows()] == [today, today - timedelta(days=1), today]


def test_holes_that_transactions_leave_are_legal_and_end_no_run_early_or_never(stream: Stream) -> None:
    producer = stream.producer(**{"transactional.id": stream.topic})
    producer.init_transactions(30)
    for value, keep in ((b"kept", True), (b"dropped", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.produce(stream.topic, value, partition=0)
        if keep:
            producer.commit_transaction(30)
        else:
            producer.flush(30)
            producer.abort_transaction(30)
    until_readable(stream.settings, 0, 6)
    result = stream.lander().land()
    assert [row["payload"] for row in stream.rows()] == [b"kept", b"kept too"]
    assert result.partitions[0].end == 6
    assert stream.lander().land().records == 0
    stream.send([b"after"])
    assert stream.lander().land().records == 1


def test_an_open_transaction_holds_back_only_what_lies_behind_it(stream: Stream) -> None:
    stream.send([b"before"])
    producer = stream.producer(**{"transactional.id": stream.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(stream.topic, b"open", partition=0)
    assert producer.flush(30) == 0
    assert stream.lander().land().records == 1
    producer.commit_transaction(30)
    until_readable(stream.settings, 0, 3)
    assert stream.lander().land().records == 1
    assert [row["payload"] for row in stream.rows()] == [b"before", b"open"]


def test_kafka_is_told_what_has_landed_as_a_hint(stream: Stream) -> None:
    stream.send([b"a", b"b"])
    stream.lander().land()
    consumer = Consumer({**client_config(stream.settings), "group.id": GROUP})
    try:
        deadline = time.monotonic() + 20
        while (committed := consumer.committed([TopicPartition(stream.topic, 0)], 10)[0].offset) != 2:
            assert time.monotonic() < deadline, f"committed is {committed}"
    finally:
        consumer.close()


def test_landings_at_once_land_each_record_once(stream: Stream) -> None:
    stream.send([os.urandom(100_000) for _ in range(60)])
    stream.send([os.urandom(100_000) for _ in range(60)], partition=1)
    failures: list[BaseException] = []
    landed: list[int] = []

    def land() -> None:
        try:
            landed.append(stream.lander().land().records)
        except CommitConflict as conflict:
            # Losing eight times in a row is allowed; doubling is not.
            failures.append(conflict)

    threads = [threading.Thread(target=land) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(landed) >= 1
    assert stream.offsets() == {0: list(range(60)), 1: list(range(60))}


def test_a_broker_that_is_away_is_said_within_the_time_that_is_set(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path, "kafka_bootstrap": "127.0.0.1:1", "kafka_timeout_seconds": 2})
    started = time.monotonic()
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1"):
        Lander(settings, Stream(settings).lake).land()
    assert time.monotonic() - started < 8


def test_a_topic_that_is_not_there_is_said(stream: Stream) -> None:
    other = stream.settings.model_copy(update={"topic": "test.no-such-topic"})
    with pytest.raises(TopicMissing, match=r"test\.no-such-topic"):
        Lander(other, stream.lake).land()


def test_a_full_lake_stops_landing_clearly_and_goes_on_when_there_is_room(stack: LiveStack) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a disk of its own needs root to mount a tmpfs; runs where the tests run as root")
    folder = Path(tempfile.mkdtemp(prefix="darkroom-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        # Root without CAP_SYS_ADMIN, as in most containers.
        pytest.skip(
            f"a disk of its own needs a tmpfs, which may not be mounted here: {' '.join(mounted.stderr.split())}"
        )
    try:
        with own_stream(stack.settings("admin"), folder) as stream:
            stream.send([os.urandom(100_000) for _ in range(100)])
            with pytest.raises(LakeFull, match="disk is full"):
                stream.lander().land()
            landed = stream.offsets()[0]
            assert landed == list(range(len(landed)))
            with pytest.raises(LakeFull):
                stream.lander().land()
            assert stream.offsets()[0] == landed
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            stream.lander().land()
            assert stream.offsets() == {0: list(range(100))}
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_partition_read_to_its_end_before_a_conflict_is_read_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused at its end, and a paused partition stays so through another assignment of the same consumer."""
    for partition in (0, 1):
        stream.send([b"a", b"b", b"c"], partition=partition)
    real = BatchWriter._write
    refused: list[int] = []

    def once_refused(self: BatchWriter, batch: Batch, table: pa.Table) -> None:
        if not refused:
            refused.append(len(batch))
            raise CommitConflict("another lander was first")
        real(self, batch, table)

    monkeypatch.setattr(BatchWriter, "_write", once_refused)
    patient = stream.settings.model_copy(update={"kafka_timeout_seconds": 5.0})
    assert Lander(patient, stream.lake).land().records == 6
    assert refused == [6]
    assert stream.offsets() == {0: [0, 1, 2], 1: [0, 1, 2]}
