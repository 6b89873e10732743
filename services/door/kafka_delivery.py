"""Records handed to Kafka, and each one's acknowledgement as a future.

librdkafka's idempotent producer with acks=all: a future holds topic, partition and offset only after the broker said
that the record is kept. One thread polls for reports. Three things make it fit for a door:

- A producer can end fatally (an idempotent one, when the broker lost its sequence): it is thrown away, what it held
  fails as `KAFKA_AWAY`, and a new one takes its place.
- When every broker was reported down, the next record first asks for metadata (2 s at most) instead of waiting out the
  delivery time: senders learn of an outage soon, and a false alarm costs one question.
- A full queue refuses at once.

Limit: a record that timed out may have reached the broker, or still reach it. Harmless: an image's id is the same
when it is sent again within its day, and every table holds an id once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.door.delivery import Delivery
from services.door.problems import Kind, Problem

log = logging.getLogger(__name__)
client_log = logging.getLogger("services.door.librdkafka")

QUEUE_KIBIBYTES = 256 * 1024
"""Most KiB of records that wait in the producer; more are refused with 503."""
PROBE_SECONDS = 2.0
REFUSE_SECONDS = 1.0
RETRY_AFTER = 5
SAME_LINE_SECONDS = 10.0


class KafkaDeliverer:
    """The real `Deliverer`. Thread-safe. No I/O until `start`.

    Args:
        config: librdkafka properties of a producer (resources.kafka.producer_config).
        topic: where records go that name no other, and the one that `check` asks for.
        timeout_seconds: longest time from submit to acknowledgement; below 30, for callers hang on it.
        make: makes a producer of properties; another one in tests.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        *,
        timeout_seconds: float = 20.0,
        make: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._topic = topic
        self._timeout = min(timeout_seconds, 29.0)
        self._config: dict[str, Any] = {
            "reconnect.backoff.max.ms": 1000,  # a broker that came back is found within a second
            **config,
            "delivery.timeout.ms": int(self._timeout * 1000),
            "queue.buffering.max.kbytes": QUEUE_KIBIBYTES,
            "error_cb": self._on_error,
            "logger": client_log,
            # Reports come from the poll thread; a broker that closes an idle connection is no news.
            "log.connection.close": False,
        }
        self._make = make
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._producer: Producer | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._fatal = threading.Event()
        self._down = threading.Event()
        self._refusal: tuple[float, Problem] | None = None

    def start(self) -> None:
        """Make the producer and its poll thread; it connects in the background.

        Raises:
            KafkaException: properties that librdkafka does not take.
        """
        if not any(isinstance(present, Seldom) for present in client_log.filters):
            client_log.addFilter(Seldom(SAME_LINE_SECONDS))
        self._producer = self._make(dict(self._config))
        self._thread = threading.Thread(target=self._poll, name="kafka-reports", daemon=True)
        self._thread.start()

    def submit(
        self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], topic: str | None = None
    ) -> Future[Delivery]:
        """See `Deliverer.submit`."""
        if self._down.is_set():
            self._probe()
        future: Future[Delivery] = Future()
        future.set_running_or_notify_cancel()  # a caller that goes away cannot unsend it
        with self._lock:
            if self._producer is None or self._stop.is_set():
                raise Problem(Kind.KAFKA_AWAY, "This instance is stopping. Send it again.", retry_after=1)
            try:
                self._producer.produce(
                    topic or self._topic,
                    value=value,
                    key=key,
                    headers=list(headers),
                    on_delivery=_reporter(future, self._on_delivery),
                )
            except BufferError:
                raise Problem(
                    Kind.BUSY, "The queue towards Kafka is full. Try again.", retry_after=RETRY_AFTER
                ) from None
            except KafkaException as error:
                raise self._refused(error.args[0], topic) from error
        return future

    def check(self, timeout: float) -> None:
        """See `Deliverer.check`."""
        producer = self._producer
        if producer is None:
            raise Problem(Kind.KAFKA_AWAY, "The producer is not started.", retry_after=1)
        try:
            found = producer.list_topics(self._topic, timeout=timeout).topics[self._topic]
        except KafkaException as error:
            raise self._refused(error.args[0]) from error
        if found.error is not None:
            raise self._refused(found.error)
        self._down.clear()

    def close(self, timeout: float) -> None:
        """See `Deliverer.close`."""
        with self._lock:
            self._stop.set()
            producer, self._producer = self._producer, None
        if self._thread is not None:
            self._thread.join()
        if producer is not None:
            left = producer.flush(timeout)
            if left:
                log.warning("%d records were not acknowledged before the end", left)
                _abandon(producer)

    def _probe(self) -> None:
        """One caller asks whether a broker is back; who waited for its answer, or comes within a second, takes it."""
        with self._probing:
            if not self._down.is_set():
                return
            if self._refusal is not None and time.monotonic() - self._refusal[0] < REFUSE_SECONDS:
                refusal = self._refusal[1]
                raise Problem(refusal.kind, refusal.detail, retry_after=refusal.retry_after, log=refusal.log)
            try:
                self.check(PROBE_SECONDS)
            except Problem as problem:
                self._refusal = (time.monotonic(), problem)
                raise

    def _poll(self) -> None:
        while not self._stop.is_set():
            producer = self._producer
            if producer is None:
                return
            producer.poll(0.1)
            if self._fatal.is_set():
                self._renew()

    def _renew(self) -> None:
        with self._lock:
            if self._producer is None:
                return
            try:
                old, self._producer = self._producer, self._make(dict(self._config))
            except KafkaException as error:
                log.error("the producer ended fatally, and no new one could be made: %s", error)
                return  # tried again after the next poll
            self._fatal.clear()
        log.error("the producer ended fatally; another one took its place")
        _abandon(old)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal.set()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down.set()
        if error.fatal():
            log.warning("kafka: %s", error.str())  # the rest comes by librdkafka's own log

    def _on_delivery(self, error: KafkaError | None, message: Message) -> Delivery:
        if error is not None:
            raise self._refused(error, message.topic())
        self._down.clear()
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None or offset < 0:
            raise Problem(
                Kind.KAFKA_AWAY, "Kafka's acknowledgement names no offset. Send it again.", retry_after=RETRY_AFTER
            )
        return Delivery(topic, partition, offset)

    def _refused(self, error: KafkaError, topic: str | None = None) -> Problem:
        topic = topic or self._topic
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal.set()
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            return Problem(
                Kind.TOO_LARGE,
                "The stream takes no record of this size.",
                log=f"{error.str()}: topic {topic} has a max.message.bytes below max_image_bytes and envelope",
            )
        return Problem(
            Kind.KAFKA_AWAY,
            "Kafka did not acknowledge in time. Send it again: within its day it counts once.",
            retry_after=RETRY_AFTER,
            log=f"{error.name()} on topic {topic} at {self._config.get('bootstrap.servers')}: {error.str()}",
        )


class Seldom(logging.Filter):
    """Lets one line of each facility through in `seconds`: of a broker that is away the client tells often."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        facility = record.getMessage().split(" ", 1)[0]
        if time.monotonic() < self._next.get(facility, 0.0):
            return False
        self._next[facility] = time.monotonic() + self._seconds
        return True


def _reporter(
    future: Future[Delivery], read: Callable[[KafkaError | None, Message], Delivery]
) -> Callable[[KafkaError | None, Message], None]:
    def report(error: KafkaError | None, message: Message) -> None:
        try:
            delivery = read(error, message)
        except Problem as problem:
            future.set_exception(problem)
        else:
            future.set_result(delivery)

    return report


def _abandon(producer: Producer) -> None:
    """Fail whatever a producer still holds, so that nobody waits for it."""
    producer.purge(in_queue=True, in_flight=True, blocking=True)
    producer.flush(1.0)
