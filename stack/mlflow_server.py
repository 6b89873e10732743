"""MLflow's server in one process: `python -m stack.mlflow_server --store URI --artifacts DIR --port N ...`.

MLflow's own command starts a second process that serves. Killed, it would leave that one behind with the port, and the
supervisor would start it again in vain; and importing MLflow, nine seconds of processor time, would be paid twice. So
its app is served here, with the same environment by which that command tells its workers (`mlflow.server.constants`;
a release that renames them fails at the import below, and not quietly).

It knows no users. On its port it lets in who shows a certificate of the stack's authority, the platform's identities;
on a Unix socket, for the gateway, who has a signed token, and what each may there are the policy's routes.

It runs at a low priority: registering a model can wait, and an image at the door cannot. Runs of job executors and
telemetry are off.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stack.pages import SameSite, Signed, listen_locally

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/mlflow"
"""Where its pages are on the gateway."""
NICENESS = 10
OFF = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Who gets here showed a certificate or a token, and the gateway may have any name.
    "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
}


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="SQLAlchemy URI of the backend store; holds no secret.")
    parser.add_argument("--artifacts", type=Path, required=True, help="Folder of the artifacts.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True, help="PEM certificate of this server.")
    parser.add_argument("--key", type=Path, required=True, help="PEM private key of the certificate.")
    parser.add_argument("--client-ca", type=Path, required=True, help="PEM certificate of the clients' authority.")
    parser.add_argument("--uds", type=Path, required=True, help="Unix socket for the gateway.")
    serve(parser.parse_args())


def serve(given: argparse.Namespace) -> None:
    """Make the store's tables where there are none, and serve; an older schema ends it with MLflow's sentence about
    `mlflow db upgrade`."""
    os.nice(NICENESS)
    # Before MLflow is imported: it reads some of these then.
    os.environ.update(OFF)
    from mlflow.server import constants

    root = "mlflow-artifacts:/"
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = given.store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = given.artifacts.absolute().as_uri()
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(given.store, None, root)
    asyncio.run(_both(app, given))


async def _both(app: Any, given: argparse.Namespace) -> None:
    """The port and the socket, until either is told to stop."""
    import ssl

    import uvicorn

    from access.tokens import TokenVerifier
    from resources.settings import load_settings
    from services.door.launcher import modern_tls

    settings = load_settings()
    verifier = TokenVerifier(settings.jwks_path, settings.token_issuer, settings.token_audience)
    guarded = Under(PREFIX, SameSite(Signed(app, verifier, "/health", lambda principal, scope: {})))
    how: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": 3}
    tls = {
        "ssl_certfile": given.certificate,
        "ssl_keyfile": given.key,
        "ssl_ca_certs": given.client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_context_factory": modern_tls,
    }
    identities = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=given.port, **tls, **how))
    people = uvicorn.Server(uvicorn.Config(guarded, lifespan="off", **how))
    serving = {
        asyncio.create_task(identities.serve()),
        asyncio.create_task(people.serve(sockets=[listen_locally(given.uds)])),
    }
    # Each takes SIGTERM in turn; the other one must not stay behind.
    await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
    identities.should_exit = people.should_exit = True
    await asyncio.gather(*serving)


class Under:
    """ASGI middleware: the application under a prefix. MLflow's pages name what is theirs relative to where they are.

    Without the prefix it is served as well: who asks is judged behind this.
    """

    def __init__(self, prefix: str, app: ASGIApp) -> None:
        self._prefix = prefix
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, its prefix taken away; the bare prefix leads to its pages."""
        if scope["type"] == "http" and scope["path"] == self._prefix:
            headers = [(b"location", f"{self._prefix}/".encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(f"{self._prefix}/"):
            raw = scope.get("raw_path") or scope["path"].encode()
            path, raw = scope["path"].removeprefix(self._prefix), raw.removeprefix(self._prefix.encode())
            scope = {**scope, "path": path, "raw_path": raw}
        await self._app(scope, receive, send)


if __name__ == "__main__":
    main()
