"""`darkroom label`: an uploader puts the label of one of their images right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_home, output, plainly
from cli.options import UPLOADER

if TYPE_CHECKING:
    import httpx

TOKEN_SECONDS = 60
ANSWER_SECONDS = 40.0
"""A door waits for Kafka for half a minute at most."""


def register(app: typer.Typer) -> None:
    """Add `label`."""
    app.command("label")(put_right)


@plainly
def put_right(
    id: Annotated[str, typer.Argument(help="The image's id, as the door answered it.")],
    label: Annotated[str, typer.Argument(help="What the image shows: one line, at most 256 characters.")],
    subject: Annotated[str, typer.Option(help="Who asks: the image's uploader.")] = UPLOADER,
) -> None:
    """Put the label of an image right; it counts from the next training set on. Saying it again is harmless."""
    import httpx

    from cli.sending import GROUPS
    from stack.doors import door_of, trust
    from stack.signing import development_token

    home = current_home()
    doors, trusted = [door_of(home)], trust(home)
    token = development_token(home, subject, GROUPS, TOKEN_SECONDS)
    with httpx.Client(verify=trusted, timeout=httpx.Timeout(ANSWER_SECONDS, connect=5.0), trust_env=False) as client:
        kept = put_label(client, doors, token, id, label)
    output().print(
        f"Kafka keeps it ({kept['topic']}, partition {kept['partition']}, offset {kept['offset']}); "
        "it counts from the next training set on.",
        soft_wrap=True,
    )


def put_label(client: httpx.Client, doors: Sequence[str], token: str, id: str, label: str) -> dict[str, object]:
    """Ask the doors, one after the other until one decides; returns its answer.

    Raises:
        PermanentFailure: refused, with the door's words.
        TransientFailure: no door decided.
        DoorUntrusted: what answers is no door of this stack.
    """
    from urllib.parse import quote

    import httpx

    from cli.ways import no_receipt, raise_if_untrusted, words_of
    from resources.failures import PermanentFailure, TransientFailure

    try:
        (id + label).encode()
    except UnicodeEncodeError:
        raise PermanentFailure("The id or the label is no UTF-8 text. Send it in the terminal's encoding.") from None
    why = "the stack has none"
    for door in doors:
        try:
            answer = client.put(
                f"{door}/v1/images/{quote(id, safe='')}/label",
                json={"label": label},
                headers={"Authorization": f"Bearer {token}"},
            )
        except httpx.TransportError as error:
            raise_if_untrusted(door, error)
            why = f"{type(error).__name__}: {error}"
            continue
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code == 202 and isinstance(found, dict) and {"topic", "partition", "offset"} <= set(found):
            return found
        if answer.status_code == 202:
            raise no_receipt(door, ValueError("no offset"))
        why = words_of(found, answer.reason_phrase)
        if answer.status_code < 500:
            raise PermanentFailure(f"The label was not taken ({answer.status_code}): {why}")
    raise TransientFailure(f"No door took the label ({why}). Try again; `darkroom status` shows what is away.")
