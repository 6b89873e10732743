"""Three brokers on this machine, each a voter of the quorum too: what a real cluster does when one of them dies.

Over loopback and in the clear: replication is what is tried here; the stack's tests try TLS and rules.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

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

    def wait_in_sync(self, topic: str, seconds: float = 120) -> None:
        """Until every replica of a topic has what its leader has, and has had it for STEADY_SECONDS.

        Who was killed has to copy before it may lead again; where two were, a third that is struck before that takes
        the only copy along, and nobody leads until it is back. For a moment after a start the brokers tell of replicas
        as they were before the kill.
        """
        since = time.monotonic()

        def in_sync() -> bool:
            nonlocal since
            found = self._partitions(topic)
            if not found or any(len(replicas) < len(NUMBERS) for _, replicas in found.values()):
                since = time.monotonic()
            return time.monotonic() - since > STEADY_SECONDS

        until(in_sync, seconds)

    def _partitions(self, topic: str) -> dict[int, tuple[int, list[int]]]:
        client = Admin(self.settings)
        told = client.client.list_topics(topic, timeout=10).topics[topic].partitions
        return {number: (one.leader, list(one.isrs)) for number, one in told.items()}

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
