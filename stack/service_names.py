"""What the services of a stack are called: their instances, ports, sockets, and the waves in which they stop.

Known without settings, so that what only names a service (`down`, the probes) needs to know no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stack import directory, s3, spark_cluster
from stack.state import StackState

GATEWAY = "gateway"
UPLOADS = ("uploads-1", "uploads-2")
STREAMS = ("streams-1", "streams-2")
MLFLOW = "mlflow"
READ_ONLY = "webserver-read-only"
WEBSERVERS = ("webserver", READ_ONLY)
RECOGNISER = "recogniser"
KEEPER = "access"
SIGNIN = ("signin-1", "signin-2")
BEHIND = {"uploads": UPLOADS, "streams": STREAMS, "signin": SIGNIN}
"""The services behind the gateway and their instances."""
_ONE_PORT = ("postgres", s3.S3, directory.DIRECTORY, MLFLOW, *UPLOADS, *STREAMS, RECOGNISER, *SIGNIN, GATEWAY)
PORTS = {
    "kafka": ("kafka", "kafka-people", "kafka-controller"),
    **{name: (name,) for name in _ONE_PORT},
    **spark_cluster.PORTS,
}
"""By service, the names of the ports that it listens on."""
PORT_NAMES = tuple(port for ports in PORTS.values() for port in ports)
# Waves in which services stop: the reverse of what each needs. Known without any settings, so that `down` always works.
STOP_WAVES = (
    (GATEWAY,),
    (*UPLOADS, *STREAMS, *SIGNIN, RECOGNISER, *WEBSERVERS, "daemon", KEEPER),
    ("code-server", "mlflow"),
    ("kafka", "postgres", "s3", "directory", *spark_cluster.WORKERS),
    (spark_cluster.MASTER,),
)


def ports_of(names: Iterable[str]) -> set[str]:
    """The names of the ports that these services listen on."""
    return {port for name in names for port in PORTS.get(name, ())}


def code_socket(state: StackState) -> Path:
    """The Unix socket of the code server."""
    return state.run / "code-server.sock"


def mlflow_socket(state: StackState) -> Path:
    """MLflow's Unix socket for the gateway."""
    return state.run / "mlflow.sock"


def webserver_socket(state: StackState, name: str) -> Path:
    """The Unix socket of one of Dagster's web servers."""
    return state.run / f"{name}.sock"
