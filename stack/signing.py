"""The stack's development signer: where its key lies, and tokens by it."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from access.signer import Signer, SignerNotReady
from resources.settings import Settings
from stack.errors import StackError
from stack.paths import Layout
from stack.state import stack_settings

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
        StackError: no stack there, no gateway in it yet, or no authority.
    """
    import httpx

    from stack.doors import door_of, trust

    class Signing(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["Authorization"] = f"Bearer {development_token(home, 'owner', OWNERS_GROUPS, 60)}"
            yield request

    url, trusted = door_of(home), trust(home)
    return httpx.Client(base_url=url, verify=trusted, auth=Signing(), timeout=timeout_seconds, trust_env=False)


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
