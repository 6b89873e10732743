"""One instance of a door over TLS: arguments, settings, uvicorn; the same for every door.

Settings come from the environment (DARKROOM_*). SIGTERM and SIGINT stop taking requests, finish those under way,
flush the producer and end; a second one ends at once. Plain HTTP is not offered.

With `--client-ca` nobody is let in but whoever shows a certificate of that authority. For what is behind the gateway
that is the gateway alone, whose word on a request's number and its client's address counts (services.door.behind).
"""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from confluent_kafka import KafkaException
from fastapi import FastAPI

from resources.settings import Settings, SettingsError, load_settings
from services.door.behind import BehindGateway
from services.door.logs import to_standard_error

SHUTDOWN_SECONDS = 30
"""Requests under way may take this long; every record is acknowledged or given up before."""


def launch(
    program: str,
    description: str,
    arguments: Sequence[str] | None,
    make: Callable[[Settings], tuple[FastAPI, Mapping[str, Any]]],
) -> int:
    """Serve until told to stop.

    Args:
        program: how it is called, for the help text.
        description: one sentence of it.
        arguments: of the command line; None for this process's own.
        make: the application of these settings, and what uvicorn is told beside what holds for every door.

    Returns:
        0 after a stop, 2 for arguments or settings that cannot be.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM certificate chain of this server")
    parser.add_argument("--key", type=Path, required=True, help="PEM private key of the certificate")
    parser.add_argument(
        "--client-ca",
        type=Path,
        help="PEM certificate of the authority whose clients alone are let in; everybody is without it",
    )
    given = parser.parse_args(arguments)
    files = {"--certificate": given.certificate, "--key": given.key, "--client-ca": given.client_ca}
    for name, path in files.items():
        if path is not None and not path.is_file():
            sys.stderr.write(f"{name} names {path}, and there is no such file.\n")
            return 2
    try:
        app, options = make(load_settings())
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    to_standard_error()
    try:
        uvicorn.run(
            app if given.client_ca is None else BehindGateway(app),
            host=given.host,
            port=given.port,
            ssl_certfile=given.certificate,
            ssl_keyfile=given.key,
            ssl_ca_certs=given.client_ca,
            ssl_cert_reqs=ssl.CERT_NONE if given.client_ca is None else ssl.CERT_REQUIRED,
            ssl_context_factory=modern_tls,
            http="httptools",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            **options,
        )
    except (KafkaException, ssl.SSLError) as error:
        sys.stderr.write(f"The service could not start: {error}\n")
        return 2
    return 0


def modern_tls(config: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A server context that speaks TLS 1.2 and later only."""
    context = make()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
