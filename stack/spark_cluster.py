"""A Spark cluster on this machine: one master and two workers as processes, with encryption between them.

For trying out what a cluster does, with the same properties that a real one needs: everybody knows one secret
(`spark.authenticate`), and what crosses a socket between driver, master, workers and executors is AES-GCM. The pages of
master and workers are TLS, answer on the loopback interface alone, and want a certificate of the stack.

Limits: one secret for all, so that whoever has it may run any code as this account. Beside each page Spark opens a port
in the clear, which no property closes and a filter of ours does, before the service says where it is: for milliseconds
at its start it answers whatever it is asked with a redirection to the page.
"""

from __future__ import annotations

import secrets
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resources.settings import Settings
from resources.spark_gateway import ENCRYPTED as ENCRYPTED_PROPERTIES
from resources.spark_gateway import QUICK_JAVA
from stack.errors import StackError
from stack.paths import Layout, write_private
from stack.pkcs12 import as_pkcs12, authority_as_pkcs12

MASTER = "spark-master"
WORKERS = ("spark-worker-1", "spark-worker-2")
SERVICES = (MASTER, *WORKERS)
PORTS = {MASTER: (MASTER, f"{MASTER}-page"), **{name: (f"{name}-page",) for name in WORKERS}}
"""The names of each service's ports."""
IDENTITY = "spark"
"""Of master and workers alike, before those who look at their pages."""
_SECRET = "spark.authenticate.secret"  # noqa: S105 - the property's name
_FILTER = "io.darkroom.spark.PagesByTls"
WORKER_CORES = 1
WORKER_MEMORY = "1536m"
ENCRYPTED = {f"spark.{name}": value for name, value in ENCRYPTED_PROPERTIES.items()}


def address(port: int) -> str:
    """The master's address, as drivers want it."""
    return f"spark://127.0.0.1:{port}"


def pyspark_home() -> Path | None:
    """The folder of the installed pyspark; None where there is none."""
    found = find_spec("pyspark")
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def insist_on_spark(settings: Settings) -> None:
    """Raise StackError unless pyspark is installed, and the jar with the pages' filter is there."""
    if pyspark_home() is None:
        raise StackError("A Spark cluster was asked for, and pyspark is not installed: run `make install-spark`.")
    if not jar(settings).is_file():
        raise StackError(f"A Spark cluster was asked for, and {jar(settings)} is not there: run `make jars-spark`.")


def jar(settings: Settings) -> Path:
    """Darkroom's own jar for Spark, which `make jars-spark` builds."""
    folder = settings.jvm_root / "spark"
    return next(iter(sorted(folder.glob("darkroom-spark-*.jar"))), folder / "darkroom-spark.jar")


def prepare(layout: Layout) -> None:
    """Write the properties that everybody starts with; the secret is made once, kept, and read by its owner alone.

    The certificate of IDENTITY must be there.
    """
    path = layout.spark_properties
    kept = path.read_text().splitlines() if path.is_file() else []
    known = [line.split(None, 1)[1] for line in kept if line.startswith(f"{_SECRET} ")]
    properties = {**ENCRYPTED, **pages(layout)}
    write_private(path, as_properties(properties, known[0] if known else secrets.token_urlsafe(32)))
    (layout.spark / "work").mkdir(mode=0o700, parents=True, exist_ok=True)


def pages(layout: Layout) -> dict[str, str]:
    """Write the certificates of the pages as Java reads them. Returns the properties that lead there."""
    password = secrets.token_urlsafe(24)
    places = {"keyStore": layout.spark / "pages.p12", "trustStore": layout.spark / "authority.p12"}
    layout.spark.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(places["keyStore"], as_pkcs12(layout, IDENTITY, password))
    write_private(places["trustStore"], authority_as_pkcs12(layout, password))
    return {
        "spark.ssl.standalone.enabled": "true",
        "spark.ssl.standalone.protocol": "TLSv1.3",
        "spark.ssl.standalone.needClientAuth": "true",
        **{f"spark.ssl.standalone.{name}": str(path) for name, path in places.items()},
        **{f"spark.ssl.standalone.{name}Type": "PKCS12" for name in places},
        **{f"spark.ssl.standalone.{name}Password": password for name in (*places, "key")},
        # Jobs end where they began, not by a button that any certificate of the stack may press.
        "spark.ui.killEnabled": "false",
    }


def as_properties(values: dict[str, str], secret: str) -> str:
    """Spark's file of properties: name, blank, value; with the secret of the cluster and what a small one needs."""
    every = {
        **values,
        _SECRET: secret,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": QUICK_JAVA,
        "spark.executor.memory": "1g",
        "spark.executor.extraJavaOptions": QUICK_JAVA,
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
    places = ("--host", "127.0.0.1", "--webui-port", "0")
    file = ("--properties-file", str(properties or layout.spark_properties))
    start = (str(home / "bin" / "spark-class"),)
    if name == MASTER:
        return (*start, "org.apache.spark.deploy.master.Master", *places, "--port", str(ports[MASTER]), *file)
    size = ("--cores", str(WORKER_CORES), "--memory", WORKER_MEMORY, "--work-dir", str(layout.spark / "work" / name))
    return (*start, "org.apache.spark.deploy.worker.Worker", *places, *size, *file, address(ports[MASTER]))


def environment(name: str, ports: dict[str, int], settings: Settings) -> dict[str, str]:
    """What the master or a worker sees beside the usual."""
    return {
        # The port is one property for three services, with one file for all of them; the filter is not for drivers,
        # who read that file, too, and have no page.
        "SPARK_DAEMON_JAVA_OPTS": f"{QUICK_JAVA} -Dspark.ssl.standalone.port={ports[f'{name}-page']} "
        f"-Dspark.ui.filters={_FILTER}",
        "SPARK_DAEMON_CLASSPATH": str(jar(settings)),
        "SPARK_HOME": str(pyspark_home()),
        "SPARK_SCALA_VERSION": "2.13",
        # Pages bind to this, too.
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        # Nothing of a folder of the caller's.
        "SPARK_CONF_DIR": "/nonexistent",
    }


def page(name: str, ports: dict[str, int]) -> str:
    """The address of a service's page."""
    return f"https://127.0.0.1:{ports[f'{name}-page']}"


def answers(layout: Layout, name: str, ports: dict[str, int]) -> str | None:
    """None where the service says on its page that it works, else what was wrong. A worker has to have registered."""
    found, master = says(layout, name, ports), says(layout, MASTER, ports)
    for said in (found, master):
        if isinstance(said, str):
            return said
    if name == MASTER:
        return (
            None if found.get("status") == "ALIVE" else f"the master says on its page that it is {found.get('status')}"
        )
    registered = {one["id"] for one in master.get("workers", []) if one.get("state") == "ALIVE"}
    return None if found.get("id") in registered else f"{name} ({found.get('id')}) is not registered with the master"


def says(layout: Layout, name: str, ports: dict[str, int]) -> Any:
    """What a page says of its service; a sentence where it does not answer."""
    import httpx

    url = f"{page(name, ports)}/json/"
    context = ssl.create_default_context(cafile=str(layout.ca))
    context.load_cert_chain(layout.certificate(IDENTITY), layout.key(IDENTITY))
    try:
        return httpx.get(url, timeout=5, trust_env=False, verify=context).json()
    except (httpx.HTTPError, ValueError) as error:
        return f"{url}: {error or type(error).__name__}"
