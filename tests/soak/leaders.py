"""The leader of a partition is killed or cut off, again and again, under a producer and a lander: what three brokers
promise.

A record is acknowledged when two of three brokers have it. So the loss of one loses nothing, and where two are away
nothing is acknowledged at all: what was told before stands, and what is asked meanwhile is refused.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from resources.failures import PlatformFailure, TransientFailure
from resources.kafka import ensure_topic, producer_config, watermarks
from resources.lake import open_lake
from resources.landing import Lander
from tests.soak import links
from tests.soak.brokers import NUMBERS, Brokers
from tests.system.history import RAW, read

PARTITIONS = 3
AWAY_SECONDS = (3.0, 8.0)
"""How long a broker stays dead: past the time after which another leads."""

LED_SECONDS = 120.0
"""So long after a kill a partition has a leader again at the latest."""
CUT_SECONDS = (8.0, 45.0)
"""Beyond the half minute after which a leader no longer waits for those who do not copy."""


@dataclass
class Outcome:
    """What was told, and what became of it; `broken` are sentences, empty is what is hoped for."""

    kills: int = 0
    cut_off: int = 0
    """Times that nothing arrived at a leader, neither from clients nor from the other brokers."""
    quorums_lost: int = 0
    """Times that two of three were away at once."""
    led_anew: int = 0
    """Kills after which another broker led the partition."""
    acknowledged: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """By partition and offset: the value that the broker said it has."""
    refused: Counter[str] = field(default_factory=Counter)
    longest_stall: float = 0.0
    broken: list[str] = field(default_factory=list)


class Sender(threading.Thread):
    """Sends one record after the other to partitions in turn, and notes what the brokers say."""

    def __init__(self, brokers: Brokers, outcome: Outcome) -> None:
        super().__init__(daemon=True)
        self._brokers, self._outcome = brokers, outcome
        self._ending = threading.Event()
        self._last = time.monotonic()

    def run(self) -> None:
        """Until `stop`."""
        # A record is given up after this and sent again by its sender, as the doors do.
        producer = Producer({**producer_config(self._brokers.settings), "delivery.timeout.ms": "4000"})
        for number in itertools.count():
            if self._ending.wait(0.01):
                break
            producer.produce(
                self._brokers.settings.topic,
                f"record-{number}".encode(),
                partition=number % PARTITIONS,
                on_delivery=self._told,
            )
            producer.poll(0)
        producer.flush(30)

    def _told(self, error: KafkaError | None, message: Message) -> None:
        outcome = self._outcome
        if error is not None:
            outcome.refused[error.name()] += 1
            return
        now = time.monotonic()
        outcome.longest_stall, self._last = max(outcome.longest_stall, now - self._last), now
        place = message.partition(), message.offset()
        if place in outcome.acknowledged:
            outcome.broken.append(f"two records were acknowledged at {place}")
        outcome.acknowledged[place] = message.value()

    def stop(self) -> None:
        """End, once all that is under way was answered."""
        self._ending.set()
        self.join(60)
        assert not self.is_alive(), "the producer did not end within a minute"


class Landing(threading.Thread):
    """Lands whatever there is, and takes every failure that passes as a fault's; another ends it, and is kept."""

    def __init__(self, brokers: Brokers) -> None:
        super().__init__(daemon=True)
        self._brokers = brokers
        self._ending = threading.Event()
        self.failed: Counter[str] = Counter()
        self.broken: list[str] = []

    def run(self) -> None:
        """Until `stop`."""
        while not self._ending.wait(0.2):
            try:
                self.land()
            except TransientFailure as failure:
                self.failed[type(failure).__name__] += 1
            except Exception as error:
                self.broken.append(f"landing ended with {type(error).__name__}: {str(error).splitlines()[0]}")
                return

    def land(self) -> None:
        """Once."""
        settings = self._brokers.settings
        Lander(settings, open_lake(settings)).land()

    def stop(self) -> None:
        """End after what is being done."""
        self._ending.set()
        self.join(120)
        assert not self.is_alive(), "landing did not end within two minutes"


def strike_leaders(folder: Path, strikes: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Strike leaders so many times, then compare: in turn one is killed, one cut off (killed too where no link can be
    cut), and one killed with a second broker.

    Args:
        folder: an empty one, for brokers and lake.
        seed: of who is struck, and for how long.
        say: told what happens, a line each.
    """
    outcome, brokers, chosen = Outcome(), Brokers(folder), random.Random(seed)
    topic = brokers.settings.topic
    brokers.start(*NUMBERS)
    try:
        # All three have to be there: fewer refuse a topic of three replicas.
        _patiently(lambda: ensure_topic(brokers.settings, topic, PARTITIONS))
        brokers.wait_in_sync(topic)
        sender, landing = Sender(brokers, outcome), Landing(brokers)
        sender.start()
        landing.start()
        try:
            for strike in range(1, strikes + 1):
                time.sleep(chosen.uniform(1, 3))
                partition = chosen.randrange(PARTITIONS)
                leader = brokers.leaders(topic)[partition]
                if strike % 3 == 2 and links.own_network():
                    say(f"nothing arrives at {leader}, who leads partition {partition}")
                    with links.cut(brokers.ports_of(leader)):
                        time.sleep(chosen.uniform(*CUT_SECONDS))
                    outcome.cut_off += 1
                    brokers.wait_in_sync(topic)
                    continue
                others = [number for number in NUMBERS if number != leader]
                struck = [leader, chosen.choice(others)] if strike % 3 == 0 else [leader]
                say(f"kill -9 of {' and '.join(map(str, struck))}, who led partition {partition}")
                brokers.kill(*struck)
                time.sleep(chosen.uniform(*AWAY_SECONDS))
                if len(struck) == 1:
                    if not _led_by(brokers, topic, partition, others):
                        told = brokers.told(topic)
                        outcome.broken.append(f"nobody led partition {partition} {LED_SECONDS:.0f} s after {leader}")
                        say(f"nobody leads partition {partition}; the brokers tell of {told}")
                    outcome.led_anew += 1
                outcome.kills += len(struck)
                outcome.quorums_lost += len(struck) > 1
                brokers.start(*struck)
                brokers.wait_in_sync(topic)
            time.sleep(2)
        finally:
            sender.stop()
            landing.stop()
        outcome.broken += landing.broken
        _patiently(landing.land)
        outcome.broken += differences(brokers, outcome)
    finally:
        brokers.stop()
    return outcome


def _led_by(brokers: Brokers, topic: str, partition: int, others: list[int]) -> bool:
    ending = time.monotonic() + LED_SECONDS
    while brokers.leaders(topic)[partition] not in others:
        if time.monotonic() > ending:
            return False
        time.sleep(0.3)
    return True


def differences(brokers: Brokers, outcome: Outcome) -> Iterator[str]:
    """What bronze holds otherwise than the brokers said, as sentences."""
    settings = brokers.settings
    rows = read(settings.lake_root, RAW, ["partition", "offset", "payload"])
    held = {(partition, offset): payload for partition, offset, payload in rows.iter_rows()}
    if rows.height != len(held):
        yield f"{rows.height - len(held)} records stand in bronze more than once"
    lost = sorted(place for place in outcome.acknowledged if place not in held)
    if lost:
        yield f"{len(lost)} acknowledged records are not in bronze, the first at {lost[0]}"
    others = [place for place, value in outcome.acknowledged.items() if place in held and held[place] != value]
    if others:
        yield f"{len(others)} acknowledged places hold another record, the first {min(others)}"
    for partition, (low, high) in watermarks(settings, settings.topic).partitions.items():
        gaps = [offset for offset in range(low, high) if (partition, offset) not in held]
        if gaps:
            yield f"{len(gaps)} records of partition {partition} did not land, the first at {gaps[0]}"


def _patiently(ask: Callable[[], object], seconds: float = 120) -> None:
    ending = time.monotonic() + seconds
    while True:
        try:
            ask()
        except PlatformFailure:
            if time.monotonic() > ending:
                raise
            time.sleep(0.5)
        else:
            return
