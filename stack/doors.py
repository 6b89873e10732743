"""The way to a running stack's gateway: where it is, and TLS that takes nobody else for it."""

from __future__ import annotations

import ssl
from pathlib import Path

from stack.errors import StackError
from stack.paths import Layout
from stack.state import load_state
from stack.status import gateway_url, stream_url


def door_of(home: Path, via: str = "upload") -> str:
    """Where the stack takes images, and all else: its gateway, by upload or by stream.

    Raises:
        StackError: there is no stack in this home, or no gateway in it yet.
    """
    state = load_state(home)
    url = stream_url(state) if via == "stream" else gateway_url(state)
    if url is None:
        raise StackError(f"The stack in {home} has no gateway yet: `darkroom up` starts it.")
    return url


def trust(home: Path) -> ssl.SSLContext:
    """TLS that trusts this stack's own authority and nobody else.

    Raises:
        StackError: its certificate is not there, so that no door could be told from another program.
    """
    path = Layout(home).ca
    try:
        context = ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise StackError(
            f"No stack is running in {home}: {path} cannot be read ({error.strerror or error}). "
            "`darkroom up` starts one; --home or DARKROOM_HOME names another."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
