"""The stack's key store: made at the first `up`, and never made anew in the place of one that is gone.

An empty store where a full one was (a disk that is not mounted) would quarantine all that waits as unknown_key and seal
new images under keys that vanish when the disk is back. So the stack remembers where its store was made.
"""

from __future__ import annotations

from resources.key_objects import KeyUnavailable
from resources.keys import open_key_store
from resources.settings import Settings
from stack.errors import StackError
from stack.state import StackState


def settle_key_store(state: StackState, settings: Settings) -> None:
    """Make the key store that the settings name, unless it is there; remember its place in `state`.

    Raises:
        StackError: this stack had its store in this place, and there is none.
        KeyUnavailable: the place cannot be read or written.
    """
    store = open_key_store(settings)
    if state.keys == settings.keys_root:
        try:
            store.require()
        except KeyUnavailable:
            raise StackError(
                f"This stack's key store was at {settings.keys_root}, and it is not there now. Without it no image "
                "sealed so far can be read. Put it back (is its disk mounted?). To go on without it, name another "
                "place by the setting `keys` (DARKROOM_KEYS): a new store is made there. Nothing was changed."
            ) from None
    store.initialise()
    state.keys = settings.keys_root
