"""Where a stack keeps its lake: in a folder of its home, or on an S3 server of its own. Decided once.

Tables do not move by themselves: another place is another, empty lake, and landing would begin again at the oldest
record that the broker still holds. So a stack keeps what it began with.
"""

from __future__ import annotations

from typing import Literal

from resources.settings import Settings
from stack import s3
from stack.errors import StackError
from stack.state import StackState

Lake = Literal["folder", "s3"]


def settle_lake(state: StackState, wanted: Lake | None, settings: Settings) -> None:
    """Decide the place of a new stack's lake in `state`, and hold an old one to its own.

    Args:
        wanted: None for what the stack has.
        settings: as `up` finds them; `lake` names a place outside of the stack.

    Raises:
        StackError: the stack keeps its lake elsewhere, or the server's jar is missing.
    """
    before = state.lake or ("folder" if state.ports else None)
    if wanted is not None and before is not None and wanted != before:
        raise StackError(
            f"This stack keeps its lake {_PLACES[before]}, and tables do not move by themselves. Start it with --lake "
            f"{before} or without the option; `darkroom --home OTHER up --lake {wanted}` makes another stack."
        )
    state.lake = wanted or before or "folder"
    if state.lake != s3.S3:
        return
    if settings.lake:
        raise StackError(
            f"The lake of this stack lies on its own S3 server, and the setting lake (DARKROOM_LAKE) is "
            f"{settings.lake}: unset it, or start without --lake s3 to use that place."
        )
    if not (jar := s3.jar(settings)).is_file():
        raise StackError(
            f"The S3 server's jar is not in {jar.parent}: run `make jars-s3` (mvn --file jvm/s3/pom.xml package)."
        )


_PLACES = {"folder": "in a folder", "s3": "on an S3 server"}
