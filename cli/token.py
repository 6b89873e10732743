"""`darkroom token`: a bearer token for the door, signed by whoever owns the stack."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.context import current_home, plainly
from cli.options import UPLOADER


def register(app: typer.Typer) -> None:
    """Add `token`."""
    app.command("token")(token)


@plainly
def token(
    subject: Annotated[str, typer.Option(help="Who the token speaks for.")] = UPLOADER,
    group: Annotated[list[str] | None, typer.Option(help="A group of the subject; may be repeated.")] = None,
    ttl: Annotated[int, typer.Option(min=1, max=86400, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a bearer token for the doors, and nothing else; `darkroom signin NAME` gives people their own."""
    from stack.signing import development_token

    typer.echo(development_token(current_home(), subject, tuple(group or ("image-uploaders",)), ttl))
