"""`darkroom accept-loss`: a person decides to go on behind records that are gone and never landed.

Landing stops at a loss (records deleted past the resume offset, a topic made anew) and never decides by itself.
Without --yes this only names topic, partition and range; with it, who, why and what was given up are kept in the
history of bronze.
"""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from cli.context import current_settings, current_topic, output, plainly
from cli.options import IN_BRONZE, Who, WhyInBronze, Yes, insist_on_why


def register(app: typer.Typer) -> None:
    """Add `accept-loss`."""
    app.command("accept-loss")(accept)


@plainly
def accept(
    yes: Yes = False,
    why: WhyInBronze = "",
    who: Who = None,
    topic: Annotated[str | None, typer.Option(help="Whose loss; the images' topic unless given.")] = None,
) -> None:
    """Go on behind records that were lost before they landed. A dry run unless --yes is given."""
    insist_on_why(yes, why, IN_BRONZE)

    from resources.lake import open_lake
    from resources.landing_losses import accept_loss

    settings, chosen = current_settings(), current_topic(topic)
    decided_by = who or getpass.getuser()
    found = accept_loss(
        settings, open_lake(settings), chosen, who=decided_by, why=why.strip() or "(dry run)", dry_run=not yes
    )
    console = output()
    console.print(found.description, soft_wrap=True, markup=False)
    if found.written:
        console.print(f"Decided by {decided_by}: {why.strip()}", soft_wrap=True, markup=False)
    elif found.losses:
        console.print("To go on: the same with --yes --why TEXT", soft_wrap=True, markup=False)
