"""The services of a stack, as data: command, environment, what each needs, and where it answers.

The order of starting follows from `needs`; stopping is the reverse. No command line holds a secret: a process finds its
identity's key by the path in its environment, in a file that only its account reads.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from access.gateway_edge import Address, Backend
from access.policy import load_policy
from resources.settings import Settings
from stack import directory, gateway, kafka, s3, spark_cluster
from stack.errors import StackError
from stack.gateway import GATEWAY
from stack.paths import Layout
from stack.processes import SERVICE, STACK
from stack.state import StackState, identity_overrides, mlflow_store

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
# What of the caller's environment a service may see. Locale and folders; nothing that could hold a secret.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "USER", "LOGNAME")


@dataclass(frozen=True)
class Service:
    """One supervised process. `needs`: services that must be healthy before it starts."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    url: str | None = None


def services(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """Every service of the stack, in an order in which each comes after what it needs."""
    if state.postgres is None:
        raise StackError("PostgreSQL's place is not settled; `darkroom up` does that first.")
    python = sys.executable
    ports = state.ports
    workspace = str(layout.dagster / "workspace.yaml")
    code = _environment(layout, state, "dagster") | {"DAGSTER_HOME": str(layout.dagster)} | _spilling(layout)
    # Who may open keys, and purge, is for runs, which the code server starts: pages and daemon know of none.
    dagster = {name: value for name, value in code.items() if name != "DARKROOM_IDENTITIES"}
    # A home of before a service has no port for it until the next `up`; `status` and `down` work until then.
    doors = [_door(layout, state, name, "uploads") for name in UPLOADS]
    doors += [_door(layout, state, name, "streams") for name in STREAMS if name in ports]
    storage = [_object_store(layout, state, settings)] if state.lake == s3.S3 else []
    cluster = _cluster(layout, state, settings) if state.spark_cluster else []
    learning = [_mlflow(layout, state)] if MLFLOW in ports else []
    learning += [_recogniser(layout, state)] if RECOGNISER in ports and MLFLOW in ports else []
    return [
        Service(
            "postgres",
            (str(state.postgres.programs / "bin" / "postgres"), "-D", str(state.postgres.data)),
            account=state.postgres.account,
            # Fast shutdown: sessions are ended, nothing is lost.
            stop_signal="INT",
            url=f"postgresql://127.0.0.1:{ports['postgres']}",
        ),
        Service(
            "kafka",
            tuple(kafka.command(layout, settings, state.run)),
            stop_seconds=30,
            url=f"ssl://127.0.0.1:{ports['kafka']}",
        ),
        *_directory(layout, state, settings),
        *storage,
        *cluster,
        Service(
            "code-server",
            (python, "-m", "stack.code_server", "--socket", str(code_socket(state))),
            needs=("postgres", *(one.name for one in (*storage, *cluster))),
            environment=code,
            stop_seconds=20,
            url=f"unix:{code_socket(state)}",
        ),
        Service(
            "daemon",
            (python, "-m", "dagster._daemon", "run", "--workspace", workspace, "--log-format", "colored"),
            needs=("postgres", "code-server"),
            environment=dagster,
        ),
        *(
            Service(
                name,
                (
                    *(python, "-m", "stack.webserver", "--workspace", workspace),
                    *("--uds", str(webserver_socket(state, name)), *(["--read-only"] if name == READ_ONLY else [])),
                ),
                needs=("postgres", "code-server"),
                environment=dagster,
                url=f"unix:{webserver_socket(state, name)}",
            )
            for name in WEBSERVERS
        ),
        *learning,
        *doors,
        *(_sign_in(layout, state, name) for name in SIGNIN if name in ports),
        *_keeper(layout, state),
        *_gateway(layout, state, settings),
    ]


def _door(layout: Layout, state: StackState, name: str, identity: str) -> Service:
    """An instance of services/<identity>, with that identity's certificates."""
    return Service(
        name,
        _serving(layout, state, name, identity),
        needs=("postgres", "kafka"),
        environment=_environment(layout, state, identity),
        # Requests under way have 30 s, and the producer 10 s to hand over what it holds.
        stop_seconds=45,
        url=f"https://127.0.0.1:{state.ports[name]}",
    )


def _recogniser(layout: Layout, state: StackState) -> Service:
    """The sub-second lane; it reaches no database."""
    return Service(
        RECOGNISER,
        _serving(layout, state, RECOGNISER, RECOGNISER),
        needs=("kafka", MLFLOW),
        environment=_environment(layout, state, RECOGNISER),
        # What is under way is answered first, and the group is left.
        stop_seconds=45,
        url=f"https://127.0.0.1:{state.ports[RECOGNISER]}",
    )


def _serving(layout: Layout, state: StackState, name: str, identity: str) -> tuple[str, ...]:
    """The command of services/<identity>, with that identity's certificates.

    What is behind the gateway lets it alone in, and what is not the stack's own identities.
    """
    command = (sys.executable, "-m", f"services.{identity}", "--port", str(state.ports[name]))
    command = (*command, "--certificate", str(layout.certificate(identity)), "--key", str(layout.key(identity)))
    return (*command, "--client-ca", str(layout.hop_ca if identity in BEHIND else layout.ca))


def _directory(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """The LDAP directory; a home of before it has none until its next `up`."""
    port = state.ports.get(directory.DIRECTORY)
    if port is None:
        return []
    line = directory.command(layout, settings)
    return [Service(directory.DIRECTORY, line, stop_seconds=10, url=f"ldaps://127.0.0.1:{port}")]


def _sign_in(layout: Layout, state: StackState, name: str) -> Service:
    """An instance of sign-in."""
    line, around = _serving(layout, state, name, "signin"), _environment(layout, state, "signin")
    needs = ("postgres", directory.DIRECTORY)
    return Service(name, line, needs, around, stop_seconds=35, url=f"https://127.0.0.1:{state.ports[name]}")


def _keeper(layout: Layout, state: StackState) -> list[Service]:
    """What keeps people's rights as the directory has them; a home of before the directory has none."""
    if directory.DIRECTORY not in state.ports:
        return []
    line = (sys.executable, "-m", "stack.access_keeper", "--home", str(layout.home))
    needs = ("postgres", "kafka", directory.DIRECTORY)
    return [Service(KEEPER, line, needs, _environment(layout, state, "admin"))]


def _gateway(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """The one door for people and machines."""
    port = state.ports.get(GATEWAY)
    if port is None:
        return []
    # Not read by anyone: another configuration changes the environment, and so `up` starts it anew.
    mark = sha256(gateway_configuration(layout, state, settings).encode()).hexdigest()[:16]
    return [
        Service(
            GATEWAY,
            gateway.command(layout),
            needs=(*(names[0] for names in BEHIND.values()), "webserver"),
            environment={"DARKROOM_POLICY_MARK": mark},
            stop_seconds=10,
            url=f"https://127.0.0.1:{port}",
        )
    ]


def gateway_configuration(layout: Layout, state: StackState, settings: Settings) -> str:
    """What Envoy is to do in this stack, as JSON."""
    backends = {
        service: Backend((tuple(Address("127.0.0.1", state.ports[name]) for name in names if name in state.ports),))
        for service, names in BEHIND.items()
    }
    for service, name in (("dagster", "webserver"), ("dagster-read-only", READ_ONLY)):
        socket = Address(socket=webserver_socket(state, name))
        backends[service] = Backend(((socket,),), healthy="/dagster/server_info")
    backends[MLFLOW] = Backend(((Address(socket=mlflow_socket(state)),),), healthy="/mlflow/health")
    return gateway.compiled(layout, state, settings, load_policy(), backends)


def _object_store(layout: Layout, state: StackState, settings: Settings) -> Service:
    """The S3 server that keeps the lake."""
    port = state.ports[s3.S3]
    return Service(s3.S3, tuple(s3.command(layout, settings)), stop_seconds=20, url=s3.endpoint(port))


def _cluster(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """Spark's master and workers."""
    services = []
    spilling = _spilling(layout)
    for name in spark_cluster.SERVICES:
        line = spark_cluster.command(layout, name, state.ports)
        needs = () if name == spark_cluster.MASTER else (spark_cluster.MASTER,)
        environment = spark_cluster.environment(name, state.ports, settings) | spilling
        url = spark_cluster.page(name, state.ports)
        services.append(Service(name, line, needs, environment, stop_seconds=20, url=url))
    return services


def _spilling(layout: Layout) -> dict[str, str]:
    """Where Spark spills, drivers (which are runs) and executors: else the system's temporary folder."""
    return {"SPARK_LOCAL_DIRS": str(layout.spilled)}


def _mlflow(layout: Layout, state: StackState) -> Service:
    """MLflow's server."""
    port, store = state.ports[MLFLOW], mlflow_store(layout, state.ports["postgres"])
    command = (sys.executable, "-m", "stack.mlflow_server", "--store", store, "--artifacts", str(layout.mlflow))
    listening = ("--port", str(port), "--uds", str(mlflow_socket(state)), "--client-ca", str(layout.ca))
    identity = ("--certificate", str(layout.certificate(MLFLOW)), "--key", str(layout.key(MLFLOW)))
    around = _environment(layout, state, MLFLOW)
    return Service(MLFLOW, (*command, *listening, *identity), ("postgres",), around, url=f"https://127.0.0.1:{port}")


def code_socket(state: StackState) -> Path:
    """The Unix socket of the code server."""
    return state.run / "code-server.sock"


def mlflow_socket(state: StackState) -> Path:
    """MLflow's Unix socket for the gateway."""
    return state.run / "mlflow.sock"


def webserver_socket(state: StackState, name: str) -> Path:
    """The Unix socket of one of Dagster's web servers."""
    return state.run / f"{name}.sock"


def ports_of(names: Iterable[str]) -> set[str]:
    """The names of the ports that these services listen on."""
    return {port for name in names for port in PORTS.get(name, ())}


def base_environment(state: StackState) -> dict[str, str]:
    """What every process of the stack sees: a few names of the caller, UTF-8, and whose it is."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    programs = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": f"{programs}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        # The working folder must not be able to stand in for an installed package.
        "PYTHONSAFEPATH": "1",
        STACK: state.id,
    }


def _environment(layout: Layout, state: StackState, identity: str) -> dict[str, str]:
    """The settings of one identity, by environment; the caller's own DARKROOM_* settings stand below them."""
    given = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields} | {"DARKROOM_CONFIG"}
    callers = {name: value for name, value in os.environ.items() if name in given}
    own = {f"DARKROOM_{name.upper()}": value for name, value in identity_overrides(layout, state, identity).items()}
    toml = layout.home / "darkroom.toml"
    # Not read by anyone: a changed file, or policy, changes the environment, and so `up` starts the service anew.
    mark = sha256(toml.read_bytes()).hexdigest()[:16] if toml.is_file() else "none"
    return {**callers, **own, "DARKROOM_FILE_MARK": mark, "DARKROOM_POLICY_MARK": _digest()}


@functools.cache
def _digest() -> str:
    """Which policy this distribution carries."""
    return load_policy().digest


def select(every: Sequence[Service], only: Sequence[str]) -> list[Service]:
    """The named services and what they need, in order; all when none is named.

    Raises:
        StackError: no service has that name; lists those there are.
    """
    by_name = {service.name: service for service in every}
    unknown = [name for name in only if name not in by_name]
    if unknown:
        raise StackError(f"No service is named {unknown[0]!r}. Valid ones: {', '.join(by_name)}.")
    wanted: set[str] = set()
    todo = list(only or by_name)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo.extend(by_name[name].needs)
    return [service for service in every if service.name in wanted]


def with_mark(service: Service, state: StackState) -> dict[str, str]:
    """The whole environment of a service."""
    return {**base_environment(state), **service.environment, SERVICE: service.name}
