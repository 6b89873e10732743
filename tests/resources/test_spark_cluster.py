"""A Spark cluster of one master and two workers: what crosses between them is unreadable, strangers are refused, and a
worker that is killed costs only time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import psutil
import pytest

from resources.settings import Settings
from stack import ca, spark_cluster
from stack.paths import Layout
from stack.ports import choose
from tests.system.wire import another_authority, handshake, said_in_the_clear

pytestmark = pytest.mark.slow
REFUSED = "Authentication failed."
MARKER = "a-marker-that-nobody-may-read-on-the-wire"
VISIBLE = {
    # Else equal text is squeezed, and blocks of this machine's own executors are read from its disk.
    "spark.shuffle.compress": "false",
    "spark.shuffle.readHostLocalDisk": "false",
    "spark.io.encryption.enabled": "false",
}

JOB = """
import json, os, sys, time
given = json.loads(sys.stdin.readline())
os.environ["PYSPARK_PYTHON"] = sys.executable
from pyspark.sql import SparkSession
builder = SparkSession.builder.master(given["master"]).appName("trial")
for line in open(given["properties"]):
    name, value = line.split(None, 1)
    builder = builder.config(name, value.strip())
builder = builder.config("spark.cores.max", "2").config("spark.ui.enabled", "false")
session = builder.getOrCreate()
context = session.sparkContext
print("session", flush=True)
slow = given["seconds"]
def work(number):
    if slow:
        time.sleep(slow)
    return number % 7, given["marker"] + str(number)
pairs = context.parallelize(range(given["rows"]), given["tasks"]).map(work)
found = pairs.groupByKey(2).mapValues(len).collectAsMap()
print(json.dumps(sorted(found.items())), flush=True)
session.stop()
"""


class Cluster:
    """A cluster of this test's own."""

    def __init__(self, folder: Path, properties: dict[str, str]) -> None:
        self.layout = Layout(folder)
        self.properties = folder / "cluster.properties"
        for folder in (self.layout.secrets, self.layout.tls):
            folder.mkdir()
        ca.issue(self.layout, (spark_cluster.IDENTITY,), datetime.now(UTC))
        given = {**properties, **spark_cluster.pages(self.layout)}
        self.properties.write_text(spark_cluster.as_properties(given, "the-secret-of-this-cluster"))
        self.ports, _ = choose(chain(*spark_cluster.PORTS.values()), {}, set())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def master(self) -> str:
        return spark_cluster.address(self.ports[spark_cluster.MASTER])

    def start(self) -> None:
        for name in spark_cluster.SERVICES:
            environment = {**os.environ, **spark_cluster.environment(name, self.ports, Settings())}
            line = spark_cluster.command(self.layout, name, self.ports, self.properties)
            log = (self.layout.home / f"{name}.log").open("wb")
            self.processes[name] = subprocess.Popen(line, env=environment, stdout=log, stderr=log, process_group=0)
            log.close()
            if name == spark_cluster.MASTER:
                self._wait(name)
        for name in spark_cluster.WORKERS:
            self._wait(name)

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while (wrong := spark_cluster.answers(self.layout, name, self.ports)) is not None:
            log = (self.layout.home / f"{name}.log").read_text()[-2000:]
            assert time.monotonic() < deadline and self.processes[name].poll() is None, f"{wrong}\n{log}"
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """kill -9 a worker and its executors: a machine that is gone."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait(10)

    def stop(self) -> None:
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def submit(
        self, properties: Path | None = None, *, rows: int = 200, tasks: int = 4, seconds: float = 0
    ) -> subprocess.Popen[str]:
        """Start a job that shuffles marked rows."""
        job = subprocess.Popen(
            [sys.executable, "-c", JOB],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.layout.home / "job.log").open("wb"),
            text=True,
        )
        assert job.stdin is not None
        given = {"master": self.master, "properties": str(properties or self.properties), "marker": MARKER}
        job.stdin.write(json.dumps({**given, "rows": rows, "tasks": tasks, "seconds": seconds}) + "\n")
        job.stdin.flush()
        return job

    def result(self, job: subprocess.Popen[str], timeout: float = 120) -> list[list[int]]:
        out, _ = job.communicate(timeout=timeout)
        assert job.returncode == 0, (self.layout.home / "job.log").read_text()[-3000:]
        return json.loads(out.splitlines()[-1])


def counts(rows: int) -> list[list[int]]:
    return [[key, len(range(key, rows, 7))] for key in range(7)]


@contextmanager
def running(folder: Path, properties: dict[str, str]) -> Iterator[Cluster]:
    folder.mkdir()
    cluster = Cluster(folder, properties)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Wire:
    """Everything that crosses the loopback interface while it listens: is the marker among it?"""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        self._stop = threading.Event()
        self.packets = self.marked = 0
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                packet = self._socket.recv(128 * 1024)
            except TimeoutError:
                continue
            self.packets += 1
            self.marked += MARKER.encode() in packet


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster") / "encrypted", {**spark_cluster.ENCRYPTED, **VISIBLE}) as cluster:
        yield cluster


may_listen = pytest.mark.skipif(
    os.geteuid() != 0 or not hasattr(socket, "AF_PACKET"),
    reason="listening on the loopback interface needs root on Linux; runs where the tests run as root",
)


@may_listen
def test_without_encryption_the_marker_is_on_the_wire(tmp_path: Path) -> None:
    """What the next test would see, if there were anything to see."""
    with running(tmp_path / "plain", VISIBLE) as cluster, Wire() as wire:
        assert cluster.result(cluster.submit()) == counts(200)
    assert wire.marked > 0


@may_listen
def test_with_it_no_packet_has_the_marker_and_the_result_is_the_same(encrypted: Cluster) -> None:
    with Wire() as wire:
        assert encrypted.result(encrypted.submit()) == counts(200)
    assert (wire.packets > 100, wire.marked) == (True, 0)


def test_a_driver_with_another_secret_is_refused(encrypted: Cluster) -> None:
    wrong = encrypted.layout.home / "wrong.properties"
    wrong.write_text(spark_cluster.as_properties({**spark_cluster.ENCRYPTED, **VISIBLE}, "another-secret"))
    log = encrypted.layout.home / "job.log"
    job = encrypted.submit(wrong)
    try:
        # Spark asks three times, twenty seconds apart, before it gives up; the first refusal is enough.
        deadline = time.monotonic() + 120
        while REFUSED not in log.read_text():
            assert job.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        job.kill()
        out, _ = job.communicate()
    assert "[[" not in out, "it never got a result"


def test_a_worker_that_is_killed_in_the_middle_of_a_job_costs_only_time(tmp_path: Path) -> None:
    with running(tmp_path / "cluster", spark_cluster.ENCRYPTED) as cluster:
        job = cluster.submit(rows=60, tasks=20, seconds=0.2)
        assert job.stdout is not None
        assert job.stdout.readline() == "session\n"
        deadline = time.monotonic() + 60
        while not executors(cluster):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(3)
        cluster.kill(spark_cluster.WORKERS[0])
        assert job.poll() is None, "the job was still at work"
        assert cluster.result(job) == counts(60)


def executors(cluster: Cluster) -> int:
    found = spark_cluster.says(cluster.layout, spark_cluster.MASTER, cluster.ports)
    return sum(one["coresused"] for one in found["workers"])


def test_no_port_says_a_word_in_the_clear(encrypted: Cluster) -> None:
    ports = {
        one.laddr.port
        for process in encrypted.processes.values()
        for one in psutil.Process(process.pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert ports > set(encrypted.ports.values())
    assert {port: said for port in ports if (said := said_in_the_clear(port))} == {}


def test_a_page_is_shown_to_nobody_without_a_certificate_of_the_stack(encrypted: Cluster, tmp_path: Path) -> None:
    authority, another = another_authority(tmp_path)
    port = encrypted.ports["spark-master-page"]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(port, ssl.create_default_context(cafile=str(authority)), spark_cluster.MASTER)
    for shown in (None, another):
        context = ssl.create_default_context(cafile=str(encrypted.layout.ca))
        if shown is not None:
            context.load_cert_chain(shown)
        with contextlib.suppress(ssl.SSLError, OSError):
            assert handshake(port, context, spark_cluster.MASTER) == b""
    context = ssl.create_default_context(cafile=str(encrypted.layout.ca))
    context.load_cert_chain(
        encrypted.layout.certificate(spark_cluster.IDENTITY), encrypted.layout.key(spark_cluster.IDENTITY)
    )
    assert handshake(port, context, spark_cluster.MASTER).startswith(b"HTTP/1.1 200")


def test_the_secret_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for folder in (layout.secrets, layout.tls):
        folder.mkdir()
    ca.issue(layout, (spark_cluster.IDENTITY,), datetime.now(UTC))

    def secret_of_the_cluster() -> str:
        spark_cluster.prepare(layout)
        lines = layout.spark_properties.read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("spark.authenticate.secret "))

    secret = secret_of_the_cluster()
    assert secret_of_the_cluster() == secret
    assert layout.spark_properties.stat().st_mode & 0o077 == 0
    ports, _ = choose(chain(*spark_cluster.PORTS.values()), {}, set())
    for name in spark_cluster.SERVICES:
        assert secret not in " ".join(spark_cluster.command(layout, name, ports))
    assert Settings(spark_properties=layout.spark_properties).spark_properties == layout.spark_properties
