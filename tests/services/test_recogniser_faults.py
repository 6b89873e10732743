"""The sub-second lane killed, rebalanced, poisoned and held up, on the running stack's broker."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from cli.hostile import PROCESSED, hostile_kinds, sound_jpeg
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.featuring import compute_features
from resources.landing import Lander
from resources.recognised_merging import merge_answers
from resources.recognising import recognise
from resources.topics import recognised_topic
from services.recogniser.app import deliverer_of
from services.recogniser.champions import Champions
from services.recogniser.engine import Edges, Recogniser
from services.recogniser.metrics import Metrics
from tests.live_stack import LiveStack
from tests.resources.learning.answers import promoted, some_model
from tests.resources.learning.registry_in_memory import RegistryInMemory
from tests.resources.raw_producer import produce_raw
from tests.services.live import scan, until
from tests.services.recognising import Lane, own_lane
from transforms.families import DIGITS, FAMILIES
from transforms.tables import RECOGNISED_IMAGES

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

MEBIBYTE = 1024 * 1024
BACKLOG = 300
MOST_MIB = 250
"""By which memory may grow: 32 MiB under way, sealed and opened, and what the client read ahead."""


@pytest.fixture
def lane(stack: LiveStack, tmp_path: Path) -> Iterator[Lane]:
    with own_lane(stack.settings("admin"), tmp_path) as made:
        yield made


def recognised_table(lane: Lane) -> pl.DataFrame:
    """The table once everything has landed, was developed and taken in, and the batch lane named the rest."""
    settings, lake = lane.settings, lane.stream.lake
    registry = RegistryInMemory()
    promoted(registry, some_model())
    Lander(settings, lake).land()
    with DecodePool(settings) as pool:
        Developer(settings, lake, lane.keys, None, pool).develop()
    compute_features(lake, lane.keys)
    Lander(settings, lake, recognised_topic(settings)).land()
    merge_answers(lake, lane.keys)
    recognise(lake, lane.keys, registry, DIGITS)
    return pl.read_delta(lake.uri(RECOGNISED_IMAGES.name))


def test_killed_and_rebalanced_while_images_flow_every_image_is_answered_and_has_one_row(lane: Lane) -> None:
    """One instance, three, one: the first is killed by -9, the second leaves in order."""
    sent: list[str] = []
    flowing = threading.Event()
    flowing.set()

    def images() -> Iterator[bytes]:
        while flowing.is_set():
            yield scan()

    sender = threading.Thread(target=lambda: lane.send(images(), sent, seconds_between=0.05))
    first = lane.instance().wait_ready()
    sender.start()
    try:
        others = [lane.instance(), lane.instance()]
        for one in others:
            one.wait_ready()
        until(lambda: len(sent) >= 60)
        first.kill()
        before = len(sent)
        until(lambda: len(sent) >= before + 120)
        others[0].end()
        before = len(sent)
        until(lambda: len(sent) >= before + 30)
    finally:
        flowing.clear()
        sender.join(60)
    answers = lane.answers(sent)
    assert {(one.id, one.label, one.probability) for one in answers} == {
        (one.id, one.label, one.probability) for one in {one.id: one for one in answers}.values()
    }, "whoever answers, and however often, says the same"
    rows = recognised_table(lane)
    assert sorted(rows["id"]) == sorted(sent)
    assert set(rows["lane"]) == {"stream"}


@pytest.mark.alone
def test_no_kind_of_poison_stops_it(stack: LiveStack, tmp_path: Path) -> None:
    kinds = hostile_kinds()
    with own_lane(stack.settings("admin"), tmp_path, partitions=1) as lane:
        stream = lane.stream
        instance = lane.instance().wait_ready()
        for kind in kinds:
            stream.send([kind.body], key=kind.key, headers=kind.headers)
        config = {name: str(value) for name, value in _plain_config(lane).items()}
        produce_raw(config, stream.topic, 0, b"k", b"no image", [(b"\xff\xfe", b"1"), (b"day", b"\xff")])
        stream.send([b"no image"], headers=[(f"h{number}", b"") for number in range(20_000)])
        ids = lane.send([scan()])
        lane.answers(ids)
        report = instance.end()
    outcomes = Counter(report["outcomes"])
    assert sum(outcomes.values()) == len(kinds) + 3
    assert outcomes["failed"] == 0
    expected = sum(kind.expected == {PROCESSED} for kind in kinds)
    assert outcomes["named"] == expected + 1
    possible = {reason for kind in kinds for reason in kind.expected} - {PROCESSED}
    assert set(outcomes) <= possible | {"named", "not_an_image", "corrupt"}
    assert report["grown"] < MOST_MIB


def _plain_config(lane: Lane) -> dict[str, object]:
    from resources.kafka import producer_config

    return dict(producer_config(lane.settings))


@pytest.mark.alone
def test_a_backlog_of_hundreds_of_megabytes_is_worked_off_in_bounded_memory(stack: LiveStack, tmp_path: Path) -> None:
    with own_lane(stack.settings("admin"), tmp_path, decode_workers=2) as lane:
        base = sound_jpeg()
        images = (base.ljust(MEBIBYTE - 4, b"\0") + number.to_bytes(4, "big") for number in range(BACKLOG))
        ids = lane.send(images)
        instance = lane.instance().wait_ready()
        lane.answers(ids, seconds=300)
        report = instance.end()
    assert report["outcomes"] == {"named": BACKLOG}
    print(f"grown by {report['grown']} MiB for a backlog of {BACKLOG} MiB")
    assert report["grown"] < MOST_MIB < BACKLOG


@pytest.fixture
def own_recogniser(lane: Lane) -> Iterator[Recogniser]:
    """The lane in this process, so that a test sees what it says of itself."""
    registry, metrics = RegistryInMemory(), Metrics()
    promoted(registry, some_model())
    settings = lane.settings.model_copy(update={"kafka_timeout_seconds": 3.0, "key_cache_seconds": 0.0})
    edges = Edges(
        keys=lane.keys,
        deliverer=deliverer_of(settings),
        pool=DecodePool(settings),
        champions=Champions(lambda: registry, FAMILIES, metrics),
    )
    recogniser = Recogniser(settings, edges, metrics)
    recogniser.start()
    try:
        until(recogniser.joined)
        yield recogniser
    finally:
        recogniser.close()


def test_keys_and_broker_away_are_waited_for_and_said_and_nothing_is_passed_over(
    stack: LiveStack, lane: Lane, own_recogniser: Recogniser
) -> None:
    until(lambda: set(own_recogniser.checks().values()) == {"ok"})
    keys = Path(lane.settings.keys)
    away = keys.with_name("keys-away")
    # The lane's own store forgets at once in this test; ours has sealed by then.
    image = scan()
    id, headers, value = lane.sealed(image)
    keys.rename(away)
    try:
        lane.stream.send([value], key=id.encode(), headers=headers)
        until(lambda: own_recogniser.checks()["keys"] != "ok")
        broker = stack.pid("kafka")
        os.kill(broker, signal.SIGSTOP)
        try:
            away.rename(keys)
            until(lambda: own_recogniser.checks()["kafka"] != "ok")
        finally:
            os.kill(broker, signal.SIGCONT)
    finally:
        if away.exists():
            away.rename(keys)
    until(lambda: set(own_recogniser.checks().values()) == {"ok"})
    assert {one.id for one in lane.answers([id])} == {id}
    stack.wait_healthy()
