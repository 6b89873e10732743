"""Dagster's web server on uvicorn, on loopback and a Unix socket: `python -m stack.webserver --workspace W --port N`.

The open-source web server knows no users: whoever reaches it may launch runs. Dagster's own command listens on one
TCP port and answers any host name, so a page in a browser could reach it by a name of its own that points here (DNS
rebinding). This launcher takes Dagster's ASGI app, answers on loopback names only, refuses what another site's page
sends, and listens on a Unix socket as well, for the gateway. Limit: every account of this machine can reach a
loopback port.
"""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")


class SameSite:
    """Refuses a request or socket that a page of another origin sent (browsers name it, RFC 6454)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what has no `Origin`, or this very server's."""
        headers = [(name, value.decode("latin-1")) for name, value in scope.get("headers", ())]
        hosts = [value for name, value in headers if name == b"host"]
        if all(urlsplit(value).netloc in hosts for name, value in headers if name == b"origin"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.responses import PlainTextResponse

        text = "This web server takes requests of its own pages only.\n"
        await PlainTextResponse(text, status_code=403)(scope, receive, send)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--uds", type=Path)
    arguments = parser.parse_args()
    serve(arguments.workspace, arguments.port, arguments.uds)


def serve(workspace: str, port: int, uds: Path | None) -> None:
    """Serve Dagster's app on 127.0.0.1:port, and on the Unix socket if one is named."""
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    configure_loggers(log_level="INFO")
    ping_before_use()
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        target = WorkspaceFileTarget(paths=[workspace])
        with WorkspaceProcessContext(instance, workspace_load_target=target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context)
            guarded = SameSite(TrustedHostMiddleware(app, allowed_hosts=list(HOSTS)))
            config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=3)
            uvicorn.Server(config).run(sockets=_listen(port, uds))


def ping_before_use() -> None:
    """Ask each pooled connection for a sign of life before it is used, and replace one that is dead.

    Dagster's web server keeps connections open; after PostgreSQL was started again the first use of each would fail, in
    front of a person. By SQLAlchemy's `checkout` event (its own recipe), for Dagster passes no `pool_pre_ping` on.
    """
    from sqlalchemy import event
    from sqlalchemy.exc import DisconnectionError
    from sqlalchemy.pool import Pool

    def ping(connection: Any, record: object, proxy: object) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except connection.Error as error:
            raise DisconnectionError(str(error)) from error

    event.listen(Pool, "checkout", ping)


def _listen(port: int, uds: Path | None) -> list[socket.socket]:
    loopback = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    loopback.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    loopback.bind(("127.0.0.1", port))
    if uds is None:
        return [loopback]
    uds.unlink(missing_ok=True)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(str(uds))
    os.chmod(uds, 0o600)
    return [loopback, local]


if __name__ == "__main__":
    main()
