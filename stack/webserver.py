"""Dagster's web server on uvicorn, behind the gateway: `python -m stack.webserver --workspace W --uds SOCKET`.

The open-source web server knows no users: whoever reaches it may launch runs. This launcher takes Dagster's ASGI app,
listens on a Unix socket for its owner alone, lets nobody through without a signed token of somebody who has a role
(stack.webserver_roles), and refuses what another site's page sends.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PREFIX = "/dagster"
"""Where the pages are on the gateway."""


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--uds", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--read-only", action="store_true", help="launch and change nothing, whoever asks")
    arguments = parser.parse_args()
    serve(arguments.workspace, arguments.uds, arguments.read_only)


def serve(workspace: str, uds: Path, read_only: bool) -> None:
    """Serve Dagster's app on a Unix socket."""
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.version import __version__

    from access.policy import load_policy
    from access.tokens import TokenVerifier
    from resources.settings import load_settings
    from stack.pages import SameSite, Signed, listen_locally
    from stack.webserver_roles import RoleProcess, RoleWebserver, admitting

    configure_loggers(log_level="INFO")
    ping_before_use()
    settings, policy = load_settings(), load_policy()
    roles = policy.dagster
    verifier = TokenVerifier(settings.jwks_path, settings.token_issuer, settings.token_audience)
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        target = WorkspaceFileTarget(paths=[workspace])
        with RoleProcess(
            instance, workspace_load_target=target, version=__version__, read_only=read_only, roles=roles
        ) as context:
            app = RoleWebserver(context, PREFIX, policy=policy.digest).create_asgi_app()
            guarded = SameSite(Signed(app, verifier, f"{PREFIX}/server_info", admitting(roles, PREFIX)))
            config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=3)
            uvicorn.Server(config).run(sockets=[listen_locally(uds)])


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


if __name__ == "__main__":
    main()
