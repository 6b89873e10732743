"""Kafka as this platform uses it: client properties, topics, and what the broker holds.

It rests on librdkafka (confluent-kafka 2.16). Clients do not survive a fork: make them after it. What goes wrong is
named by `resources.kafka_errors`. Nothing here connects before a function is called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resources.kafka_errors import ErrorMemory, KafkaRefused, KafkaUnavailable, failure, passes
from resources.settings import MEBIBYTE, Settings
from transforms.landing_protocol import TopicState, topic_id_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient

MAX_RECORD_BYTES = 24 * MEBIBYTE
"""Largest record that broker and topic take: above what the doors let in, so that a larger one written straight to
Kafka lands and is quarantined in place of stopping its producer silently."""

_RETRY_SECONDS = 0.1
_logger = logging.getLogger("darkroom.kafka")
# librdkafka's lines go where logging is configured, and nowhere else: our exceptions name the last of them.
_logger.addHandler(logging.NullHandler())
_T = TypeVar("_T")


def client_config(settings: Settings) -> dict[str, str]:
    """librdkafka properties of any client of this process: where the broker is and who we are.

    TLS is used as soon as one of the certificate settings is given; `kafka_extra` wins over all.
    """
    config = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "socket.connection.setup.timeout.ms": str(_milliseconds(settings.kafka_timeout_seconds, 1000)),
        # librdkafka's default of 100 ms fills the log while a broker is away.
        "reconnect.backoff.ms": "250",
        "reconnect.backoff.max.ms": "2000",
    }
    if settings.kafka_ca or settings.kafka_certificate or settings.kafka_key:
        config["security.protocol"] = "ssl"
    if settings.kafka_ca:
        config["ssl.ca.location"] = str(settings.kafka_ca)
    if settings.kafka_certificate:
        config["ssl.certificate.location"] = str(settings.kafka_certificate)
    if settings.kafka_key:
        config["ssl.key.location"] = str(settings.kafka_key)
    return {**config, **settings.kafka_extra}


def person_config(bootstrap: str, ca: Path) -> dict[str, str]:
    """librdkafka properties of a person's client; its `oauth_cb` brings a token of sign-in's, anew before it ends."""
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "ssl.ca.location": str(ca),
    }


def producer_config(settings: Settings) -> dict[str, str]:
    """Properties of a producer of images: acknowledged by all replicas, not doubled by its own retries."""
    return {
        **client_config(settings),
        "acks": "all",
        "enable.idempotence": "true",
        "linger.ms": "5",
        "message.max.bytes": str(max(MAX_RECORD_BYTES, settings.max_image_bytes + 64 * 1024)),
        # A record is given up after this, so that a door answers 503 and not never.
        "delivery.timeout.ms": str(_milliseconds(settings.kafka_timeout_seconds, 1000)),
        "request.timeout.ms": str(_milliseconds(settings.kafka_timeout_seconds, 1000)),
        **settings.kafka_extra,
    }


def consumer_config(settings: Settings, group: str) -> dict[str, str]:
    """Properties of a consumer that is assigned its partitions and keeps its own positions.

    What makes it fast: `fetch.queue.backoff.ms` (librdkafka's default sleeps up to a second when the local queue is
    full) and a queue that is small enough to stay in memory that was touched already.
    """
    return {
        **client_config(settings),
        "group.id": group,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        # A position that the broker no longer holds is a loss, and never a reason to jump.
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": "true",
        "fetch.queue.backoff.ms": "5",
        "queued.max.messages.kbytes": "65536",
        "fetch.wait.max.ms": "100",
        "fetch.message.max.bytes": str(MEBIBYTE),
        "fetch.max.bytes": str(MAX_RECORD_BYTES * 2),
        "receive.message.max.bytes": str(MAX_RECORD_BYTES * 2 + MEBIBYTE),
        **settings.kafka_extra,
    }


class Admin:
    """Questions to and changes of the cluster, each bounded by `kafka_timeout_seconds`."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        self._settings = settings
        self._errors = ErrorMemory()
        config: dict[str, Any] = {**client_config(settings), "error_cb": self._errors, "logger": _logger}
        try:
            self.client: AdminClient = AdminClient(config)
        except KafkaException as error:
            raise KafkaRefused(
                f"librdkafka takes no client with these properties: {error.args[0].str()}. Those of the setting "
                f"kafka_extra are {', '.join(sorted(settings.kafka_extra)) or 'none'}; put it right and run again.",
                {"bootstrap": settings.kafka_bootstrap, "error": error.args[0].name()},
            ) from error

    def topic_id(self, topic: str) -> str:
        """Kafka's id of the topic as it is now, 22 characters; costs one request (about 1 ms)."""
        return self._describe(topic)[0]

    def state(self, topic: str) -> TopicState:
        """Topic id and watermarks of every partition, read with read_committed isolation.

        Raises:
            KafkaUnavailable: no answer in time.
            TopicMissing: no such topic.
            KafkaRefused: not authorised.
        """
        from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec

        topic_id, partitions = self._describe(topic)

        def known(partition: int, offset: int) -> int:
            # Where nobody leads, librdkafka may give -1001 and no error: taken for an end, it is a log that lost all.
            if offset < 0:
                said = f"Partition {partition} has no leader that knows its offsets"
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, said))
            return offset

        def offsets(spec: Any) -> dict[int, int]:
            def ask(timeout: float) -> dict[int, int]:
                asked = {TopicPartition(topic, p): spec for p in partitions}
                answers = self.client.list_offsets(
                    asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout
                )
                return {tp.partition: known(tp.partition, future.result().offset) for tp, future in answers.items()}

            return self.ask(f"the watermarks of topic {topic!r}", ask)

        low = offsets(OffsetSpec.earliest())
        high = offsets(OffsetSpec.latest())
        if self.topic_id(topic) != topic_id:
            raise KafkaUnavailable(
                f"Topic {topic!r} on {self._settings.kafka_bootstrap} was made anew while its watermarks were read.",
                {"topic": topic, "bootstrap": self._settings.kafka_bootstrap},
            )
        return TopicState(topic, topic_id, {p: (low[p], max(low[p], high[p])) for p in sorted(partitions)})

    def configure_topic(self, topic: str, config: Mapping[str, str]) -> dict[str, str]:
        """Set the topic's properties that differ from `config`; returns those. Others stay as they are.

        Raises:
            KafkaUnavailable, KafkaRefused: as for every question; some of them may be set by then.
        """
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

        def ask(timeout: float) -> dict[str, str]:
            resource = ConfigResource(ResourceType.TOPIC, topic)
            (found,) = self.client.describe_configs([resource], request_timeout=timeout).values()
            stands = {name: entry.value for name, entry in found.result().items()}
            differing = {name: value for name, value in config.items() if stands.get(name) != value}
            if differing:
                entries = [
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in differing.items()
                ]
                resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
                (done,) = self.client.incremental_alter_configs([resource], request_timeout=timeout).values()
                done.result()
            return differing

        return self.ask(f"to set properties of topic {topic!r}", ask)

    def create_topic(self, topic: str, partitions: int, config: dict[str, str]) -> bool:
        """Make a topic with the cluster's default replication; False when it is there already."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic

        def ask(timeout: float) -> bool:
            new = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=config)
            try:
                self.client.create_topics([new], request_timeout=timeout)[topic].result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                raise
            return True

        return self.ask(f"to make topic {topic!r}", ask)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> dict[int, int]:
        """Delete the records of each partition before an offset; returns the low watermarks afterwards.

        The broker forgets them at once, and takes the bytes from its disk segment by segment, the open one last.

        Raises:
            KafkaUnavailable, KafkaRefused: as for every question; some partitions may be done by then.
        """
        from confluent_kafka import TopicPartition

        def ask(timeout: float) -> dict[int, int]:
            asked = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
            answers = self.client.delete_records(asked, request_timeout=timeout)
            return {tp.partition: future.result().low_watermark for tp, future in answers.items()}

        return self.ask(f"to delete records of topic {topic!r}", ask) if before else {}

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and all its records."""
        self.ask(
            f"to delete topic {topic!r}",
            lambda timeout: self.client.delete_topics([topic], request_timeout=timeout)[topic].result(),
        )

    def _describe(self, topic: str) -> tuple[str, list[int]]:
        from confluent_kafka import TopicCollection

        def ask(timeout: float) -> Any:
            future: Future[Any] = self.client.describe_topics(TopicCollection([topic]), request_timeout=timeout)[topic]
            return future.result()

        described = self.ask(f"what topic {topic!r} is", ask, topic)
        # Printed, it would be in librdkafka's plain base64; Java prints the URL-safe one, and so do we.
        uuid = described.topic_id
        topic_id = topic_id_of(uuid.get_most_significant_bits(), uuid.get_least_significant_bits())
        return str(topic_id), [p.id for p in described.partitions]

    def ask(self, what: str, ask: Callable[[float], _T], topic: str = "") -> _T:
        """Ask until answered or the time is up: a broker that has just started answers with errors that pass.

        Args:
            what: what is asked, for an error.
            ask: asks once; its argument is how many seconds are left.

        Raises:
            KafkaUnavailable, KafkaRefused, TopicMissing: it never answered, or refused.
        """
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + self._settings.kafka_timeout_seconds
        while True:
            remaining = deadline - time.monotonic()
            try:
                return ask(max(0.2, remaining))
            except KafkaException as exception:
                error = exception.args[0]
                if not passes(error) or remaining <= _RETRY_SECONDS:
                    raise self.failure(error, what, topic) from exception
            time.sleep(_RETRY_SECONDS)

    def failure(self, error: KafkaError, what: str, topic: str = "") -> Exception:
        """Our exception for librdkafka's error."""
        # The cause waits in the client's queue until it is polled.
        self.client.poll(0)
        return failure(self._settings, error, what, self._errors.last, topic)


def watermarks(settings: Settings, topic: str) -> TopicState:
    """What the broker holds of a topic: its id, and (low, high) of every partition; errors as of `Admin.state`."""
    return Admin(settings).state(topic)


def ensure_topic(
    settings: Settings, topic: str, partitions: int | None = None, config: dict[str, str] | None = None
) -> bool:
    """Make the topic unless it is there, and put its properties to these where they differ; True when it was made.

    Records carry the broker's time (LogAppendTime), and live as long as images do; segments roll hourly, for retention
    deletes whole segments only. The log is stored uncompressed: what is sealed cannot be compressed, and the broker
    then unpacks what others compressed and holds it to `max.message.bytes`. Else a few kilobytes could become a record
    that no consumer can take, and stop the stream.
    """
    properties = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "retention.ms": str(settings.retention_days * 24 * 3600 * 1000),
        "segment.ms": str(3600 * 1000),
        "compression.type": "uncompressed",
        **(config or {}),
    }
    client = Admin(settings)
    made = client.create_topic(topic, partitions or settings.topic_partitions, properties)
    if not made:
        client.configure_topic(topic, properties)
    return made


def _milliseconds(seconds: float, least: int) -> int:
    return max(least, round(seconds * 1000))
