"""The stack's development signer: where its key lies, and tokens by it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from access.signer import Signer, SignerNotReady
from resources.settings import Settings
from stack.errors import StackError
from stack.paths import Layout
from stack.state import stack_settings


def signer(layout: Layout, settings: Settings) -> Signer:
    """The signer of this stack; its key is secrets/signer.key."""
    key = layout.secrets / "signer.key"
    return Signer(key, settings.jwks_path, settings.token_issuer, settings.token_audience)


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
