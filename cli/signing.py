"""`darkroom signing`: the key that tokens are signed with, changed without a token that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.context import current_home, messages, output, plainly
from cli.options import Yes

if TYPE_CHECKING:
    from access.signer import Signer

signing_commands = typer.Typer(no_args_is_help=True, help="The key that tokens are signed with.")


def register(app: typer.Typer) -> None:
    """Add the group `signing`."""
    app.add_typer(signing_commands, name="signing")
    signing_commands.command("rotate")(rotate)
    signing_commands.command("retire")(retire)


@plainly
def rotate() -> None:
    """Sign with a new key from now on. Doors go on taking what the old one signed, until `darkroom signing retire`."""
    import time

    from access.gateway_filters import KEYS_SECONDS

    def known() -> None:
        messages().print(f"The new key is published. In {KEYS_SECONDS} seconds every door knows it, and it signs.")
        time.sleep(KEYS_SECONDS)

    kid = _signer().rotate(known)
    output().print(f"Tokens are signed with {kid} from now on. Once the old ones have expired: darkroom signing retire")


@plainly
def retire(
    yes: Yes = False,
) -> None:
    """Take the key before the last rotation from the doors: what it signed is refused at once. A dry run by default."""
    if not yes:
        output().print(
            "Tokens of the key before the last rotation would be refused at once. To do it: the same with --yes"
        )
        return
    output().print("It is gone." if _signer().retire() else "There is no key before this one.")


def _signer() -> Signer:
    from stack.paths import Layout
    from stack.signing import signer
    from stack.state import stack_settings

    home = current_home()
    return signer(Layout(home), stack_settings(home, "operator"))
