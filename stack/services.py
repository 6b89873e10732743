"""The services of a stack, as data: command, environment, what each needs, and where it answers.

The order of starting follows from `needs`; stopping is the reverse. No command line holds a secret.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from resources.settings import Settings
from stack import directory, gateway, kafka, s3, spark_cluster
from stack.errors import StackError
from stack.paths import Layout
from stack.processes import SERVICE
from stack.service_environment import base_environment, environment_of, spilling
from stack.service_names import (
    BEHIND,
    GATEWAY,
    KEEPER,
    MLFLOW,
    READ_ONLY,
    RECOGNISER,
    SIGNIN,
    STREAMS,
    UPLOADS,
    WEBSERVERS,
    code_socket,
    mlflow_socket,
    webserver_socket,
)
from stack.state import StackState, mlflow_store


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
    code = environment_of(layout, state, "dagster") | {"DAGSTER_HOME": str(layout.dagster)} | spilling(layout)
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
        environment=environment_of(layout, state, identity),
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
        environment=environment_of(layout, state, RECOGNISER),
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
    line, around = _serving(layout, state, name, "signin"), environment_of(layout, state, "signin")
    needs = ("postgres", directory.DIRECTORY)
    return Service(name, line, needs, around, stop_seconds=35, url=f"https://127.0.0.1:{state.ports[name]}")


def _keeper(layout: Layout, state: StackState) -> list[Service]:
    """What keeps people's rights as the directory has them; a home of before the directory has none."""
    if directory.DIRECTORY not in state.ports:
        return []
    line = (sys.executable, "-m", "stack.access_keeper", "--home", str(layout.home))
    needs = ("postgres", "kafka", directory.DIRECTORY)
    return [Service(KEEPER, line, needs, environment_of(layout, state, "admin"))]


def _gateway(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """The one door for people and machines."""
    if GATEWAY not in state.ports:
        return []
    # Not read by anyone: another configuration changes the environment, and so `up` starts it anew.
    mark = sha256(gateway.configuration(layout, state, settings).encode()).hexdigest()[:16]
    return [
        Service(
            GATEWAY,
            gateway.command(layout),
            needs=(*(names[0] for names in BEHIND.values()), "webserver"),
            environment={"DARKROOM_POLICY_MARK": mark},
            stop_seconds=10,
            url=f"https://127.0.0.1:{state.ports[GATEWAY]}",
        )
    ]


def _object_store(layout: Layout, state: StackState, settings: Settings) -> Service:
    """The S3 server that keeps the lake."""
    line = tuple(s3.command(layout, settings))
    return Service(s3.S3, line, stop_seconds=20, url=s3.endpoint(state.ports[s3.S3]))


def _cluster(layout: Layout, state: StackState, settings: Settings) -> list[Service]:
    """Spark's master and workers."""
    services = []
    for name in spark_cluster.SERVICES:
        line = spark_cluster.command(layout, name, state.ports)
        needs = () if name == spark_cluster.MASTER else (spark_cluster.MASTER,)
        environment = spark_cluster.environment(name, state.ports, settings) | spilling(layout)
        page = spark_cluster.page(name, state.ports)
        services.append(Service(name, line, needs, environment, stop_seconds=20, url=page))
    return services


def _mlflow(layout: Layout, state: StackState) -> Service:
    """MLflow's server."""
    port, store = state.ports[MLFLOW], mlflow_store(layout, state.ports["postgres"])
    command = (sys.executable, "-m", "stack.mlflow_server", "--store", store, "--artifacts", str(layout.mlflow))
    listening = ("--port", str(port), "--uds", str(mlflow_socket(state)), "--client-ca", str(layout.ca))
    identity = ("--certificate", str(layout.certificate(MLFLOW)), "--key", str(layout.key(MLFLOW)))
    around = environment_of(layout, state, MLFLOW)
    return Service(MLFLOW, (*command, *listening, *identity), ("postgres",), around, url=f"https://127.0.0.1:{port}")


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
