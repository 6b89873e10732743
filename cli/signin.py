"""`darkroom signin`: a person's own token, for a name and a password that the directory knows."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.context import current_home, plainly


def register(app: typer.Typer) -> None:
    """Add `signin`."""
    app.command("signin")(signin)


@plainly
def signin(
    name: Annotated[str, typer.Argument(help="Your name in the directory.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
    ] = False,
) -> None:
    """Print a bearer token of your own, and nothing else; it is good for a minute."""
    import httpx

    from resources.failures import PermanentFailure, TransientFailure
    from stack.doors import door_of, trust

    home = current_home()
    url, trusted = door_of(home), trust(home)
    password = (
        sys.stdin.readline().rstrip("\n") if password_stdin else typer.prompt("Password", hide_input=True, err=True)
    )
    try:
        with httpx.Client(verify=trusted, trust_env=False) as client:
            answer = client.post(f"{url}/v1/session", json={"name": name, "password": password}, timeout=30)
            told = answer.json()
            if answer.status_code == 200:
                # A command keeps no session: the token is all that is wanted.
                client.delete(f"{url}/v1/session", headers={"Authorization": f"Bearer {told['session']}"})
    except (httpx.HTTPError, ValueError) as error:
        raise TransientFailure(
            f"Sign-in at {url} did not answer: {error or type(error).__name__}. `darkroom status` shows if it runs."
        ) from None
    if answer.status_code != 200:
        kind = TransientFailure if answer.status_code in (429, 503) else PermanentFailure
        raise kind(f"Not signed in: {told.get('detail', told.get('title', answer.status_code))}")
    typer.echo(told["token"])
