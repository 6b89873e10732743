"""Options that several commands share: what is a dry run until `--yes` wants a reason then, which is kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

UPLOADER = "demo"
"""Whose images a command is about, unless another is named."""
IN_AUDIT = "in the audit log"
IN_BRONZE = "in the history of bronze"


def reason(kept: str, *, with_yes: bool = True) -> Any:
    """The option `--why`; `kept` says where the reason goes."""
    return typer.Option("--why", help=f"Why; kept {kept}.{' Needed with --yes.' if with_yes else ''}")


Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only say what it would do.")]
Who = Annotated[str | None, typer.Option(help="Who decides; this account's name unless given.")]
WhyAudited = Annotated[str, reason(IN_AUDIT)]
WhyInBronze = Annotated[str, reason(IN_BRONZE)]


def insist_on_why(done: bool, why: str, kept: str, option: str = "--yes") -> None:
    """Raise typer.BadParameter where something is to be done, and nobody said why; `kept` says where that goes."""
    if done and not why.strip():
        raise typer.BadParameter(f"{option} needs --why TEXT: it is kept {kept}.")
