"""Answers of the sub-second lane as a door sees them: read off their topic, kept sealed for a while, told to who waits.

Each instance reads the whole topic by itself, from ten minutes before its start: an uploader may ask any instance, and
answers are small. What is kept is sealed; it is opened when its uploader asks, under the image's own data key, so that
a destroyed key darkens it here as everywhere. Whose it is shows by the key's name, which the sealing binds.

Limits: `HELD_BYTES` of answers, the oldest go first, none is older than `KEPT_SECONDS`; later the lake has them.
Partitions that are added while an instance runs are read after its next start.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from resources.kafka import consumer_config
from resources.key_objects import KeyDestroyed, UnknownKey
from resources.key_protocol import Keys
from resources.settings import Settings
from transforms.envelope import Clear, EnvelopeError, clear_of
from transforms.landing import headers_of
from transforms.messages import Recognition, open_recognition
from transforms.names import KeyName

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

log = logging.getLogger(__name__)

KEPT_SECONDS = 600.0
HELD_BYTES = 16 * 1024 * 1024
LARGEST_VALUE = 64 * 1024
WAITING = 1000
"""Answers that wait for one listener; then the oldest are given up and counted."""
ENTRY_BYTES = 1000
"""What an answer costs in memory beside its value."""

_GROUP = "darkroom-door-answers"
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class SealedAnswer:
    """One message of the topic. `pseudonym`: of the key that it names, so of the image's uploader on that day."""

    clear: Clear
    value: bytes
    pseudonym: str


@dataclass
class Listener:
    """Takes the answers that it wants, in one event loop; `missed` were given up because nobody took them."""

    wants: Callable[[SealedAnswer], bool]
    loop: asyncio.AbstractEventLoop
    found: deque[SealedAnswer] = field(default_factory=lambda: deque(maxlen=WAITING))
    missed: int = 0
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, answer: SealedAnswer) -> None:
        """Hand over one answer; in the listener's loop."""
        self.missed += len(self.found) == WAITING
        self.found.append(answer)
        self._came.set()

    async def came(self, seconds: float) -> bool:
        """Whether there is something in `found` within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            return False
        return True

    async def wait(self) -> None:
        """Until there is something in `found`."""
        while not self.found:
            self._came.clear()
            await self._came.wait()


class Answers:
    """What came lately, by image, and who waits for more. Safe for threads."""

    def __init__(self, held_bytes: int = HELD_BYTES, timer: Callable[[], float] = time.monotonic) -> None:
        self._most = held_bytes
        self._timer = timer
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[float, SealedAnswer]] = OrderedDict()
        self._by_id: dict[str, list[int]] = {}
        self._count = 0
        self._bytes = 0
        self._listeners: list[Listener] = []

    def put(self, answer: SealedAnswer) -> None:
        """Keep an answer and tell those who want it."""
        with self._lock:
            self._count += 1
            self._kept[self._count] = (self._timer(), answer)
            self._by_id.setdefault(answer.clear.id, []).append(self._count)
            self._bytes += ENTRY_BYTES + len(answer.value)
            self._forget()
            listeners = list(self._listeners)
        for one in (one for one in listeners if one.wants(answer)):
            try:
                one.loop.call_soon_threadsafe(one.give, answer)
            except RuntimeError:  # its loop has ended, and so has whoever waited
                continue

    def of(self, id: str, pseudonym: str) -> list[SealedAnswer]:
        """The answers about an image of that uploader, oldest first."""
        with self._lock:
            self._forget()
            found = [self._kept[at][1] for at in self._by_id.get(id, ())]
        return [one for one in found if one.pseudonym == pseudonym]

    @contextmanager
    def listening(self, wants: Callable[[SealedAnswer], bool]) -> Iterator[Listener]:
        """A listener for the length of a block, in the running event loop; `wants` is called by another thread."""
        listener = Listener(wants, asyncio.get_running_loop())
        with self._lock:
            self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def _forget(self) -> None:
        oldest = self._timer() - KEPT_SECONDS
        while self._kept:
            at, (when, answer) = next(iter(self._kept.items()))
            if when >= oldest and self._bytes <= self._most:
                return
            del self._kept[at]
            self._bytes -= ENTRY_BYTES + len(answer.value)
            places = self._by_id[answer.clear.id]
            places.remove(at)
            if not places:
                del self._by_id[answer.clear.id]


class AnswerSource(Protocol):
    """The edge to the topic."""

    def start(self, put: Callable[[SealedAnswer], None]) -> None:
        """Begin to hand over what comes, from a thread of its own; never raises for a broker that is away."""
        ...

    def close(self) -> None:
        """Stop. Blocks for a moment."""
        ...


class TopicTail:
    """The real source: every partition of the topic, from a while ago on, in no consumer group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, put: Callable[[SealedAnswer], None]) -> None:
        """See `AnswerSource.start`."""
        self._thread = threading.Thread(target=self._run, args=(put,), name="answers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """See `AnswerSource.close`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5 * _POLL_SECONDS)

    def _run(self, put: Callable[[SealedAnswer], None]) -> None:
        while not self._stop.is_set():
            try:
                self._follow(put)
            except Exception as error:
                # A broker that is away, or what nobody foresaw: no door stands still for it, and reading begins anew.
                log.warning("answers are not read: %s: %s", type(error).__name__, error)
                self._stop.wait(_RETRY_SECONDS)

    def _follow(self, put: Callable[[SealedAnswer], None]) -> None:
        from confluent_kafka import Consumer

        config = {
            **consumer_config(self._settings, _GROUP),
            # What is gone, or a topic made anew, is nothing that anybody waits for.
            "auto.offset.reset": "latest",
            "enable.partition.eof": "false",
            "queued.max.messages.kbytes": "4096",
        }
        consumer = Consumer(config, logger=logging.getLogger("services.door.kafka"))
        try:
            self._assign(consumer)
            while not self._stop.is_set():
                message = consumer.poll(_POLL_SECONDS)
                if message is not None and (answer := answer_of(message)) is not None:
                    put(answer)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        topic, seconds = self._settings.recognised_topic, min(5.0, self._settings.kafka_timeout_seconds)
        found = consumer.list_topics(topic, timeout=seconds).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        begin = int((time.time() - KEPT_SECONDS) * 1000)
        asked = [TopicPartition(topic, partition, begin) for partition in found.partitions]
        consumer.assign(consumer.offsets_for_times(asked, timeout=seconds))


def answer_of(message: Message) -> SealedAnswer | None:
    """The answer in a record of the topic; None for an error, or what is none by its form."""
    if message.error() is not None:
        return None
    value = message.value()
    if not isinstance(value, bytes) or not 0 < len(value) <= LARGEST_VALUE:
        return None
    try:
        clear = clear_of(headers_of([message])[0])  # pyrefly: ignore[bad-argument-type]  # a Message, as landing reads
        return None if clear is None else SealedAnswer(clear, value, KeyName.parse(clear.key).pseudonym)
    except (EnvelopeError, ValueError):
        return None


def opened(keys: Keys, answer: SealedAnswer) -> Recognition | None:
    """What an answer says; None where its key is destroyed or it does not open. Blocks.

    Raises:
        KeyUnavailable: the key store cannot say.
    """
    try:
        return open_recognition(answer.clear, answer.value, keys.open_key(answer.clear.key))
    except (KeyDestroyed, UnknownKey, EnvelopeError):
        return None
