"""`darkroom settings`: every setting, and what a wrong value does; docs/settings.md is its output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import output, plainly


def register(app: typer.Typer) -> None:
    """Add `settings`."""
    app.command("settings")(settings)


@plainly
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page of the documentation.")] = False,
) -> None:
    """List every setting with its default and what a wrong value does."""
    if markdown:
        typer.echo(page(), nl=False)
        return
    from rich.table import Table

    table = Table("environment", "default", "what it is", show_lines=True)
    for name, default, description in rows():
        table.add_row(f"DARKROOM_{name.upper()}", default, description)
    output().print(table)


def rows() -> list[tuple[str, str, str]]:
    """Name, default and description of every setting, in the order of the code."""
    from resources.settings import Settings

    return [
        (name, _shown(field.get_default(call_default_factory=True)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def page() -> str:
    """The settings as a page of Markdown."""
    lines = [
        "# Settings",
        "",
        "Written by `darkroom settings --markdown`; a test fails when it is out of date.",
        "",
        "Values come from the environment (`DARKROOM_` and the name in capitals), then from one TOML file"
        " (`DARKROOM_CONFIG`, else `darkroom.toml` in `DARKROOM_HOME`), then from the defaults. The local stack sets"
        " addresses and certificates for its own processes.",
        "",
        "| name | default | what it is, and what a wrong value does |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in rows()),
    ]
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None or default in ("", {}):
        return ""
    return default.as_posix() if isinstance(default, Path) else str(default)
