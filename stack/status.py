"""`darkroom status`: how each service is, and all that a client needs to use the stack."""

from __future__ import annotations

import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from resources.kafka import MAX_RECORD_BYTES, client_config, person_config
from resources.settings import Settings, load_settings
from stack.errors import StackError
from stack.health import Probes
from stack.mlflow_server import PREFIX as MLFLOW_PREFIX
from stack.paths import Layout
from stack.service_names import GATEWAY, MLFLOW, RECOGNISER
from stack.services import Service, services
from stack.state import StackState, identity_overrides, load_state, postgres_dsn
from stack.supervision import Supervisor
from stack.webserver import PREFIX
from transforms.tables import TABLES

# The supervisor's words to ours; RUNNING and STARTING are asked further.
STATES = {"STOPPED": "stopped", "EXITED": "stopped", "STOPPING": "stopping", "BACKOFF": "failing", "FATAL": "failing"}


def describe(home: Path) -> dict[str, Any]:
    """The stack as `status --json` prints it. Asks every running service; changes nothing.

    A service's state is one of: running (it answers), starting, unhealthy (its process lives and it does not answer),
    failing (it ends again and again), stopping, stopped.

    Raises:
        StackMissing: there is no stack in this home.
    """
    layout = Layout(home.absolute())
    state = load_state(layout.home)
    settings = load_settings(identity_overrides(layout, state, "operator"))
    return {
        "home": str(layout.home),
        "services": _services(layout, state, settings),
        "kafka": {
            "topic": settings.topic,
            "config": {**client_config(settings), "message.max.bytes": str(MAX_RECORD_BYTES)},
            "people": _for_people(layout, state),
        },
        "lake": {
            "root": settings.lake_root,
            "tables": {spec.name: f"{settings.lake_root.rstrip('/')}/{spec.name}" for spec in TABLES},
        },
        "postgres": {"dsn": postgres_dsn(layout, state.ports["postgres"], "operator")},
        "dagster": {"url": dagster_url(state), **_asking(layout)},
        "mlflow": {"url": _page(state, MLFLOW_PREFIX) if MLFLOW in state.ports else None, **_asking(layout)},
        "gateway": {"url": gateway_url(state), **_asking(layout)},
        "uploads": {"url": gateway_url(state), **_asking(layout)},
        "streams": {"url": stream_url(state), **_asking(layout)},
        "recogniser": {
            "url": _url(state, RECOGNISER),
            "ca": str(layout.ca),
            "client": str(layout.certificate_and_key("operator")),
        },
    }


def _for_people(layout: Layout, state: StackState) -> dict[str, str] | None:
    """Kafka's door for people; None in a home of before it."""
    port = state.ports.get("kafka-people")
    return None if port is None else person_config(f"127.0.0.1:{port}", layout.ca)


def _asking(layout: Layout) -> dict[str, str]:
    """What every door wants of its client: whom to trust, and a token."""
    token = shlex.join([*_command(), "--home", str(layout.home), "token"])
    return {"ca": str(layout.ca), "token_command": token}


def stream_url(state: StackState) -> str | None:
    """Where machines send; None in a home of before this door, until the next `up` has given it a port."""
    port = state.ports.get(GATEWAY)
    return None if port is None else f"wss://127.0.0.1:{port}/v1/stream"


def dagster_url(state: StackState) -> str | None:
    """Dagster's pages, on the gateway."""
    return _page(state, PREFIX)


def _page(state: StackState, prefix: str) -> str | None:
    url = gateway_url(state)
    return None if url is None else url + prefix


def gateway_url(state: StackState) -> str | None:
    """The one door; None in a home of before it, until the next `up` has given it a port."""
    return _url(state, GATEWAY)


def _url(state: StackState, name: str) -> str | None:
    port = state.ports.get(name)
    return None if port is None else f"https://127.0.0.1:{port}"


def _command() -> list[str]:
    program = Path(sys.executable).parent / "darkroom"
    return [str(program)] if program.is_file() else [sys.executable, "-m", "cli"]


def _services(layout: Layout, state: StackState, settings: Settings) -> dict[str, dict[str, Any]]:
    every = services(layout, state, settings)
    supervised = Supervisor(layout, state).processes()
    probes = Probes(layout, state, load_settings(identity_overrides(layout, state, "admin")))

    def one(service: Service) -> dict[str, Any]:
        info = supervised.get(service.name, {})
        pid = int(info.get("pid") or 0) or None
        found = _state(service.name, info, probes)
        return {"state": found, "url": service.url, "pid": pid, "log": str(layout.log(service.name))}

    with ThreadPoolExecutor(len(every)) as pool:
        return dict(zip((service.name for service in every), pool.map(one, every), strict=True))


def _state(name: str, info: dict[str, Any], probes: Probes) -> str:
    said = info.get("statename", "STOPPED")
    if said not in ("RUNNING", "STARTING"):
        return STATES.get(said, "stopped")
    if probes.check(name, float(info["start"])).ok:
        return "running"
    return "starting" if said == "STARTING" else "unhealthy"


def log_of(home: Path, name: str) -> Path:
    """The log of a service.

    Raises:
        StackError: no such service, or it has never run; lists those that have a log.
    """
    layout = Layout(home.absolute())
    load_state(layout.home)
    known = sorted(path.stem for path in layout.logs.glob("*.log"))
    if name not in known:
        raise StackError(f"{name!r} has no log in {layout.logs}. Valid names: {', '.join(known) or 'none yet'}.")
    return layout.log(name)
