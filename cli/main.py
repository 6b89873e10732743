"""The `darkroom` command, for laptops and production alike.

Each module of commands has one function `register(app)` that adds its commands; it imports nothing heavy at its top,
so that help is fast. A new module is one more line in `MODULES`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from cli.context import use_home

MODULES = (
    "cli.access",
    "cli.lifecycle",
    "cli.look",
    "cli.token",
    "cli.settings",
    "cli.send",
    "cli.label",
    "cli.demo",
    "cli.people",
    "cli.quarantine",
    "cli.redevelop",
    "cli.loss",
    "cli.lake",
    "cli.models",
    "cli.results",
    "cli.labels",
    "cli.keys",
    "cli.erase",
    "cli.backup",
    "cli.shop",
    "cli.signin",
    "cli.signing",
)

app = typer.Typer(
    name="darkroom",
    help="An image arrives, is kept exactly once, and is developed, or quarantined with a reason.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main(
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of this stack's state, data and logs (DARKROOM_HOME; default .darkroom)."),
    ] = None,
) -> None:
    """An image arrives, is kept exactly once, and is developed, or quarantined with a reason."""
    use_home(home)


for module in MODULES:
    importlib.import_module(module).register(app)
