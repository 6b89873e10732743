"""Three brokers on this machine, each a voter of the quorum too: what a real cluster does when one of them dies.

Over loopback and in the clear: replication is what is tried here; the stack's tests try TLS and rules.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from confluent_kafka import KafkaException

from resources.kafka import MAX_RECORD_BYTES, Admin
from resources.settings import Settings
from stack.kafka import as_properties, jars, java
from stack.ports import choose
from tests.services.live import until

NUMBERS = (1, 2, 3)
CLUSTER = "ThreeBrokersOfThisTest"
HEAP = "256m"
SESSION_SECONDS = 3.0
"""After so long a broker that is dead is known to be, and another leads."""
STEADY_SECONDS = 2 * SESSION_SECONDS


Partitions = dict[int, tuple[int, list[int]]]
"""By number: the broker that leads, and those that have what it has."""


class Brokers:
    """A cluster whose topics have three replicas, of which two have to have a record before it is acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = [f"{kind}{number}" for kind in ("client", "controller") for number in NUMBERS]
        self._ports, _ = choose(names, {}, set())
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        # As the stack's broker takes no name that is not its own: a list, one of whom always answers.
        bootstrap = ",".join(f"127.0.0.1:{self._ports[f'client{number}']}" for number in NUMBERS)
        self.settings = Settings(home=folder, kafka_bootstrap=bootstrap, kafka_timeout_seconds=10)

    def start(self, *numbers: int) -> None:
        """Start some of them, with the data that they have."""
        for number in numbers:
            properties = self._folder / f"broker{number}.properties"
            if not properties.is_file():
                properties.write_text(as_properties(self._configuration(number)))
                self._java("-Xmx128m", "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties)).wait(
                    60
                )
            self._running[number] = self._java(f"-Xmx{HEAP}", "kafka.Kafka", str(properties))

    def kill(self, *numbers: int) -> None:
        """kill -9."""
        for number in numbers:
            process = self._running.pop(number)
            process.kill()
            process.wait(10)

    def stop(self) -> None:
        """All of them, for good."""
        self.kill(*self._running)

    def ports_of(self, number: int) -> list[int]:
        """Where a broker listens, to clients and to the other brokers."""
        return [self._ports[f"{kind}{number}"] for kind in ("client", "controller")]

    def told(self, topic: str) -> str:
        """Leader and replicas in sync of each partition, and the last lines of the brokers' log, for people."""
        lines = (self._folder / "brokers.log").read_text(errors="replace").splitlines()[-40:]
        return "\n".join([str(self._partitions(topic)), *lines])

    def leaders(self, topic: str) -> dict[int, int]:
        """The broker that leads each partition."""
        return {partition: leader for partition, (leader, _) in self._partitions(topic).items()}

    def wait_in_sync(self, topic: str, seconds: float = 300) -> None:
        """Until every replica of a topic has what its leader has, by each broker's word, and for STEADY_SECONDS.

        Who was killed has to copy before it may lead again; where two were, a third that is struck before that takes
        the only copy along, and nobody leads until it is back. The third tells of replicas as they were before the
        kill, until the two have started and outvoted it: on a busy machine that is a minute.
        """
        since = time.monotonic()

        def in_sync() -> bool:
            nonlocal since
            told = [self._told_by(number, topic) for number in NUMBERS]
            if any(not found or any(len(isr) < len(NUMBERS) for _, isr in found.values()) for found in told):
                since = time.monotonic()
            return time.monotonic() - since > STEADY_SECONDS

        until(in_sync, seconds)

    def _told_by(self, number: int, topic: str) -> Partitions:
        """What one broker knows; nothing of one that does not answer yet."""
        alone = {"kafka_bootstrap": f"127.0.0.1:{self._ports[f'client{number}']}"}
        try:
            return _partitions(self.settings.model_copy(update=alone), topic, 2)
        except KafkaException:
            return {}

    def _partitions(self, topic: str) -> Partitions:
        return _partitions(self.settings, topic, 10)

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        line = [str(java()), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars(Settings())}/*"]
        heap, *program = arguments
        with (self._folder / "brokers.log").open("ab") as log:
            return subprocess.Popen([*line, heap, *program], stdout=log, stderr=log)

    def _configuration(self, number: int) -> dict[str, str]:
        port = self._ports
        values: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": number,
            "controller.quorum.voters": ",".join(f"{one}@127.0.0.1:{port[f'controller{one}']}" for one in NUMBERS),
            "listeners": (
                f"CLIENT://127.0.0.1:{port[f'client{number}']},CONTROLLER://127.0.0.1:{port[f'controller{number}']}"
            ),
            "advertised.listeners": f"CLIENT://127.0.0.1:{port[f'client{number}']}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self._folder / f"data{number}",
            "auto.create.topics.enable": "false",
            "default.replication.factor": len(NUMBERS),
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": len(NUMBERS),
            "message.max.bytes": MAX_RECORD_BYTES,
            "replica.fetch.max.bytes": MAX_RECORD_BYTES,
            "broker.session.timeout.ms": round(SESSION_SECONDS * 1000),
            "broker.heartbeat.interval.ms": 500,
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        }
        return {name: str(value) for name, value in values.items()}


def _partitions(settings: Settings, topic: str, seconds: float) -> Partitions:
    told = Admin(settings).client.list_topics(topic, timeout=seconds).topics[topic].partitions
    return {number: (one.leader, list(one.isrs)) for number, one in told.items()}
