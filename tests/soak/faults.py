"""What may happen to a running stack. Each fault is a context: it begins, lasts, and is over when the context ends.

None of them asks the platform for anything: processes are killed and stopped by their pids, disks filled, and clients
of the broker behave badly.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from cli.hostile import hostile_kinds
from resources.kafka import client_config, producer_config
from resources.key_life import KeyLife
from services.recogniser.consuming import group_config
from stack.state import load_state
from tests.live_stack import LiveStack
from tests.run_workers import run_workers
from tests.soak import links
from tests.soak.plan import Card

MEBIBYTE = 1024 * 1024
PARTITIONS_TIMES = 10


@dataclass(frozen=True)
class Scene:
    """The stack that is struck, and the file system that it lies on."""

    stack: LiveStack
    disk: Path | None = None
    """A file system of its own, which may be made full; None where there is none."""


Fault = Callable[[Scene, str], AbstractContextManager[object]]


@contextmanager
def killed(scene: Scene, victim: str) -> Iterator[None]:
    """kill -9; the supervisor starts it again."""
    with suppress(ProcessLookupError, AssertionError):  # it is dead already
        scene.stack.kill(victim)
    yield


@contextmanager
def killed_run(scene: Scene, victim: str) -> Iterator[None]:
    """kill -9 of the process of a run in progress, where there is one."""
    with suppress(psutil.Error, AssertionError):
        for worker in run_workers(psutil.Process(scene.stack.pid("code-server"))):
            worker.kill()
    yield


@contextmanager
def stopped(scene: Scene, victim: str) -> Iterator[None]:
    """SIGSTOP: it holds its connections and answers nothing."""
    held: list[psutil.Process] = []
    with suppress(psutil.Error, AssertionError):
        process = psutil.Process(scene.stack.pid(victim))
        held = [process, *process.children(recursive=True)]
    for one in held:
        with suppress(psutil.Error):
            one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in reversed(held):
            with suppress(psutil.Error):
                one.send_signal(signal.SIGCONT)


@contextmanager
def away(scene: Scene, victim: str) -> Iterator[None]:
    """Stopped in good order, and started again."""
    with scene.stack.without(victim):
        yield


@contextmanager
def keys_off(scene: Scene, victim: str) -> Iterator[None]:
    """The owner switches the customer-managed key off, and on."""
    life = KeyLife(scene.stack.settings("operator"), "soak", "a soak")
    life.disable()
    try:
        yield
    finally:
        life.enable()


def mounted_at(folder: Path, megabytes: int, *, again: bool = False) -> bool:
    """Mount a file system in memory there, or make one as large as is said; False where that may not be."""
    how = "remount," if again else ""
    command = ["mount", "-t", "tmpfs", "-o", f"{how}size={megabytes}m", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def disk_full(scene: Scene, victim: str) -> Iterator[None]:
    """Hardly a byte is left for topics, tables, keys and logs: the file system shrinks to what it holds."""
    assert scene.disk is not None
    whole = shutil.disk_usage(scene.disk)
    mounted_at(scene.disk, whole.used // MEBIBYTE + 1, again=True)
    try:
        yield
    finally:
        assert mounted_at(scene.disk, whole.total // MEBIBYTE, again=True)


@contextmanager
def link_cut(scene: Scene, victim: str) -> Iterator[None]:
    """Nothing arrives at a server's port: who is connected waits, and who connects does too."""
    with links.cut([load_state(scene.stack.home).ports[victim]]):
        yield


@contextmanager
def link_slow(scene: Scene, victim: str) -> Iterator[None]:
    """What arrives at a server's port trickles, and the rest is lost on the way."""
    with links.slow([load_state(scene.stack.home).ports[victim]]):
        yield


@contextmanager
def poison(scene: Scene, victim: str) -> Iterator[None]:
    """Hostile files and records by the hundred, straight into the topic of images."""
    settings = scene.stack.settings("operator")
    producer = Producer(producer_config(settings))
    kinds = [kind for kind in hostile_kinds() if kind.body is None or len(kind.body) < MEBIBYTE]
    for kind in kinds * 5:
        with suppress(BufferError):
            producer.produce(settings.topic, kind.body, kind.key, headers=list(kind.headers))
        producer.poll(0)
    yield
    producer.flush(30)


@contextmanager
def rebalancing(scene: Scene, victim: str) -> Iterator[None]:
    """Members come into the recogniser's group and leave it at once, again and again."""
    settings = scene.stack.settings("recogniser")
    for _ in range(6):
        member = Consumer(group_config(settings))
        member.subscribe([settings.topic])
        ending = time.monotonic() + 1.0
        while time.monotonic() < ending:
            member.poll(0.1)
        member.close()
    yield


@contextmanager
def more_partitions(scene: Scene, victim: str) -> Iterator[None]:
    """The topic of images has ten times the partitions from now on."""
    settings = scene.stack.settings("admin")
    client = AdminClient(client_config(settings))
    count = len(client.list_topics(settings.topic, timeout=20).topics[settings.topic].partitions)
    for asked in client.create_partitions([NewPartitions(settings.topic, count * PARTITIONS_TIMES)]).values():
        asked.result(30)
    yield


FAULTS: dict[str, Fault] = {
    "kill -9": killed,
    "kill -9 of a run": killed_run,
    "SIGSTOP": stopped,
    "away": away,
    "keys switched off": keys_off,
    "disk full": disk_full,
    "link cut": link_cut,
    "link slow": link_slow,
    "poison storm": poison,
    "rebalance storm": rebalancing,
    "ten times the partitions": more_partitions,
}
KILLED = (
    *("kafka", "postgres", "code-server", "daemon", "gateway", "uploads-1", "uploads-2", "streams-1", "recogniser"),
    *("mlflow", "directory", "signin-1", "webserver", "access"),
)
STOPPED = ("kafka", "code-server", "daemon", "gateway", "uploads-1", "streams-1", "recogniser", "mlflow", "directory")
AWAY = ("postgres", "kafka", "directory", "mlflow")
CUT = ("kafka", "postgres", "directory", "mlflow", "gateway", "uploads-1")
SLOW = ("kafka", "postgres", "uploads-1")


def deck(*, disk: bool, network: bool) -> list[Card]:
    """Every fault that can be had.

    Args:
        disk: whether there is a disk that may be filled.
        network: whether there is a network whose links may be cut.
    """
    cards = [Card("kill -9", name) for name in KILLED]
    cards += [Card("kill -9 of a run", "whatever it does")] * 3
    cards += [Card("SIGSTOP", name, (3.0, 35.0)) for name in STOPPED]
    cards += [Card("away", name, (5.0, 20.0)) for name in AWAY]
    cards += [Card("keys switched off", "the customer-managed key", (5.0, 15.0))]
    cards += [Card("poison storm", "the topic of images"), Card("rebalance storm", "the recogniser's group")]
    cards += [Card("ten times the partitions", "the topic of images", once=True)]
    if network:
        cards += [Card("link cut", name, (3.0, 35.0)) for name in CUT]
        cards += [Card("link slow", name, (5.0, 20.0)) for name in SLOW]
    return cards + ([Card("disk full", "topics, tables, keys and logs", (3.0, 12.0))] if disk else [])
