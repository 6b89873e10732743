"""`darkroom results`: what models name your images, as it becomes known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, messages, output, plainly
from cli.options import UPLOADER

if TYPE_CHECKING:
    from cli.listening import NamedImage


def register(app: typer.Typer) -> None:
    """Add `results`."""
    app.command("results")(results)


@plainly
def results(
    subject: Annotated[str, typer.Option(help="Whose images: the subject of the token.")] = UPLOADER,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Listen for so long; until stopped unless given.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print what models name the images of SUBJECT, from now on, as it becomes known."""
    import json

    from cli.listening import Listening, results_url
    from cli.sending import GROUPS, Tokens
    from stack.doors import door_of, trust
    from stack.signing import development_token

    home, console = current_home(), output()

    def show(found: NamedImage) -> None:
        if json_lines:
            said = {name: value for name, value in vars(found).items() if name != "at"}
            console.print(json.dumps(said), soft_wrap=True, markup=False)
        else:
            line = f"{found.id}  {found.label}  {found.probability:.2f}  {found.model} {found.model_version}"
            console.print(line, soft_wrap=True, markup=False)

    def missed(count: int) -> None:
        messages().print(f"{count} answers were missed: this was too slow to take them.")

    tokens = Tokens(lambda ttl: development_token(home, subject, GROUPS, ttl))
    stream = door_of(home, "stream")
    with Listening(results_url(stream), trust(home), tokens, show, missed) as listening:
        messages().print(f"listening to {results_url(stream)} for the images of {subject}; Ctrl-C stops")
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            time.sleep(0.1)
            listening.check()
