"""A Spark cluster on this machine: one master and two workers as processes, with encryption between them.

For trying out what a cluster does, with the same properties that a real one needs: everybody knows one secret
(`spark.authenticate`), and what crosses a socket between driver, master, workers and executors is AES-GCM. The pages of
master and workers show no data of jobs and answer on the loopback interface alone.

Limits: one secret for all, so that whoever has it may run any code as this account; the pages are plain HTTP.
"""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stack.errors import StackError
from stack.paths import Layout, write_private

MASTER = "spark-master"
WORKERS = ("spark-worker-1", "spark-worker-2")
SERVICES = (MASTER, *WORKERS)
PORTS = (MASTER, *(f"{name}-page" for name in SERVICES))
_SECRET = "spark.authenticate.secret"  # noqa: S105 - the property's name
WORKER_CORES = 1
WORKER_MEMORY = "1536m"
ENCRYPTED = {
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    # The cipher before Spark 4 had no integrity (CVE-2025-55039); spelled out, so that no other default comes back.
    "spark.network.crypto.cipher": "AES/GCM/NoPadding",
    "spark.network.crypto.authEngineVersion": "2",
    "spark.network.crypto.saslFallback": "false",
    # Between an executor and its Python processes: else a socket of the loopback interface, in the clear.
    "spark.python.unix.domain.socket.enabled": "true",
    # What executors spill to disk.
    "spark.io.encryption.enabled": "true",
}


def address(port: int) -> str:
    """The master's address, as drivers want it."""
    return f"spark://127.0.0.1:{port}"


def pyspark_home() -> Path | None:
    """The folder of the installed pyspark; None where there is none."""
    found = find_spec("pyspark")
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def insist_on_spark() -> None:
    """Raise StackError unless pyspark is installed."""
    if pyspark_home() is None:
        raise StackError("A Spark cluster was asked for, and pyspark is not installed: run `make install-spark`.")


def prepare(layout: Layout) -> None:
    """Write the properties that everybody starts with; the secret is made once, kept, and read by its owner alone."""
    path = layout.spark_properties
    kept = path.read_text().splitlines() if path.is_file() else []
    known = [line.split(None, 1)[1] for line in kept if line.startswith(f"{_SECRET} ")]
    write_private(path, as_properties(ENCRYPTED, known[0] if known else secrets.token_urlsafe(32)))
    (layout.spark / "work").mkdir(mode=0o700, parents=True, exist_ok=True)


def as_properties(values: dict[str, str], secret: str) -> str:
    """Spark's file of properties: name, blank, value; with the secret of the cluster and what a small one needs."""
    every = {
        **values,
        _SECRET: secret,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "1g",
        "spark.master.rest.enabled": "false",
        # A worker that is gone is given up soon: its tasks run again elsewhere.
        "spark.network.timeout": "30s",
        "spark.network.timeoutInterval": "10s",
        "spark.executor.heartbeatInterval": "5s",
        "spark.worker.timeout": "15",
    }
    return "".join(f"{name} {value}\n" for name, value in every.items())


def command(layout: Layout, name: str, ports: dict[str, int], properties: Path | None = None) -> tuple[str, ...]:
    """The command line of the master or of a worker; the secret is in a file that it names."""
    home = pyspark_home()
    if home is None:
        raise StackError("pyspark is not installed: run `make install-spark`.")
    places = ("--host", "127.0.0.1", "--webui-port", str(ports[f"{name}-page"]))
    file = ("--properties-file", str(properties or layout.spark_properties))
    start = (str(home / "bin" / "spark-class"),)
    if name == MASTER:
        return (*start, "org.apache.spark.deploy.master.Master", *places, "--port", str(ports[MASTER]), *file)
    size = ("--cores", str(WORKER_CORES), "--memory", WORKER_MEMORY, "--work-dir", str(layout.spark / "work" / name))
    return (*start, "org.apache.spark.deploy.worker.Worker", *places, *size, *file, address(ports[MASTER]))


def environment() -> dict[str, str]:
    """What master and workers see beside the usual."""
    return {
        "SPARK_HOME": str(pyspark_home()),
        "SPARK_SCALA_VERSION": "2.13",
        # Pages bind to this, too.
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        # Nothing of a folder of the caller's.
        "SPARK_CONF_DIR": "/nonexistent",
    }


def answers(name: str, ports: dict[str, int]) -> str | None:
    """None where the service says on its page that it works, else what was wrong. A worker has to have registered."""
    found, master = _page(name, ports), _page(MASTER, ports)
    for page in (found, master):
        if isinstance(page, str):
            return page
    if name == MASTER:
        return (
            None if found.get("status") == "ALIVE" else f"the master says on its page that it is {found.get('status')}"
        )
    registered = {one["id"] for one in master.get("workers", []) if one.get("state") == "ALIVE"}
    return None if found.get("id") in registered else f"{name} ({found.get('id')}) is not registered with the master"


def _page(name: str, ports: dict[str, int]) -> Any:
    """What a page says of its service; a sentence where it does not answer."""
    import httpx

    url = f"http://127.0.0.1:{ports[f'{name}-page']}/json/"
    try:
        return httpx.get(url, timeout=5, trust_env=False).json()
    except (httpx.HTTPError, ValueError) as error:
        return f"{url}: {error or type(error).__name__}"
