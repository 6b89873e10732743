"""The stack's development signer: where its key lies, and tokens by it."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from access.signer import Signer, SignerNotReady
from resources.settings import Settings
from stack.errors import StackError
from stack.paths import Layout
from stack.state import load_state, stack_settings

if TYPE_CHECKING:
    import httpx

OWNERS_GROUPS = ("platform-admins",)


def signer(layout: Layout, settings: Settings) -> Signer:
    """The signer of this stack; its key is secrets/signer.key."""
    key = layout.secrets / "signer.key"
    return Signer(key, settings.jwks_path, settings.token_issuer, settings.token_audience)


def owner_client(home: Path, timeout_seconds: float = 60.0) -> httpx.Client:
    """The stack's owner at the gateway: trusts its authority, and signs each request anew for `OWNERS_GROUPS`.

    Raises:
        StackError: no stack there, or no gateway in it yet.
    """
    import httpx

    from stack.status import gateway_url

    class Signing(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["Authorization"] = f"Bearer {development_token(home, 'owner', OWNERS_GROUPS, 60)}"
            yield request

    url = gateway_url(load_state(home))
    if url is None:
        raise StackError(f"The stack in {home} has no gateway yet: `darkroom up` starts it.")
    try:
        trust = ssl.create_default_context(cafile=str(Layout(home).ca))
    except (OSError, ssl.SSLError) as error:
        raise StackError(f"The stack's authority {Layout(home).ca} cannot be read: {error}.") from None
    return httpx.Client(base_url=url, verify=trust, auth=Signing(), timeout=timeout_seconds, trust_env=False)


def development_token(home: Path, subject: str, groups: tuple[str, ...], ttl_seconds: int) -> str:
    """A bearer token that the stack's door takes.

    Raises:
        StackError: no stack there, no key yet, or a subject that may not be.
    """
    settings = stack_settings(home, "operator")
    try:
        return signer(Layout(home), settings).token(subject, groups, timedelta(seconds=ttl_seconds))
    except (SignerNotReady, ValueError) as error:
        raise StackError(str(error)) from None
