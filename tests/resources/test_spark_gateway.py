"""A Spark session of one process, from outside: its ports refuse plain words and strangers, and its command lines
tell nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.wire import another_authority, handshake, said_in_the_clear

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
SECRET = "a-secret-that-nobody-else-on-the-machine-may-read"
SESSION = """
import json, os, sys
from pathlib import Path
from pyspark import SparkContext
from resources.object_storage import storage_of
from resources.settings import Settings
from resources.spark_compute import SparkCompute
home = Path(sys.argv[1])
settings = Settings(home=home, lake=str(home), spark_master="local[2]", spark_properties=home / "spark.conf")
session = SparkCompute(settings, storage_of(settings)).session()
seen = session.conf.get("spark.darkroom.secret")
counted = session.range(1000).repartition(4).count()
collected = session.range(3).toArrow().num_rows
print(json.dumps({"port": SparkContext._gateway.gateway_parameters.port, "seen": seen, "rows": [counted, collected],
    "left": [name for name in os.environ if "GATEWAY" in name or name.startswith("PYSPARK_S")]}), flush=True)
sys.stdin.read()
"""


class Session:
    """A process with a session, its Java process, and what it told."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.process = process
        self.told = told
        self.all = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]

    def ports(self) -> set[int]:
        found = set()
        for process in self.all:
            with contextlib.suppress(psutil.NoSuchProcess):
                listening = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
                assert {one.laddr.ip.removeprefix("::ffff:") for one in listening} <= {"127.0.0.1"}
                found |= {one.laddr.port for one in listening}
        return found


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("session")
    (home / "spark.conf").write_text(f"spark.driver.memory 512m\nspark.darkroom.secret {SECRET}\n")
    script = home / "session.py"
    script.write_text(SESSION)
    with (home / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script), str(home)],
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (home / "errors").read_text()[-3000:]
        yield Session(process, json.loads(line))
    finally:
        process.kill()
        process.communicate()


def test_it_works_with_its_properties_and_leaves_no_variable(session: Session) -> None:
    assert session.told["seen"] == SECRET
    assert session.told["rows"] == [1000, 3]
    assert session.told["left"] == []


def test_no_port_says_a_word_in_the_clear(session: Session) -> None:
    ports = session.ports()
    assert session.told["port"] in ports
    assert {port: said for port in ports if (said := said_in_the_clear(port))} == {}


def test_its_line_to_java_is_open_to_nobody_else(session: Session, tmp_path: Path) -> None:
    authority, another = another_authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(session.told["port"], ssl.create_default_context(cafile=str(authority)), "py4j")
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    for shown in (None, another):
        if shown is not None:
            trusting.load_cert_chain(shown)
        with contextlib.suppress(ssl.SSLError, OSError):
            assert handshake(session.told["port"], trusting, "py4j") == b""


def test_its_command_lines_and_what_is_left_on_the_disk_tell_no_property(session: Session) -> None:
    lines = []
    for process in session.all:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker of Spark's that has ended, or not been waited for
            lines.append(" ".join(process.cmdline()))
    assert any("io.darkroom.spark.Gateway" in line for line in lines)
    (folder,) = {Path(word).parent for line in lines for word in line.split() if word.endswith("/spark.properties")}
    assert not folder.exists()
    assert not [line for line in lines if SECRET in line]


def test_java_ends_with_a_python_that_is_killed(session: Session) -> None:
    java = [process for process in session.all if process.is_running() and "java" in process.name()]
    assert java
    session.process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(java, timeout=20)
    assert alive == []
