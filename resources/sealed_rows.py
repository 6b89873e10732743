"""Opens and seals the columns of derived rows, each under the image's own data key.

Every key is asked for once: a run over thousands of rows of one uploader's day opens one key. What cannot be opened
makes no error, for it is a state that rows may rightly be in: the key was destroyed (the row is dark, and what is
derived from it vanishes), or the bytes are not what was sealed. A key store that is away is an error: nobody is judged
by it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from resources.key_objects import KeyDestroyed, UnknownKey
from resources.key_protocol import Keys
from transforms.envelope import NONCE_BYTES, EnvelopeError, open_field, seal_field
from transforms.names import DataKey
from transforms.tables import TableSpec


class SealedRows:
    """The sealed columns of rows, for one run.

    Args:
        keys: the key store.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._opened: dict[str, DataKey | None] = {}

    def key(self, name: str) -> DataKey | None:
        """The key of that name; None when it was destroyed or never held.

        Raises:
            KeyUnavailable: the key store cannot say.
        """
        if name not in self._opened:
            try:
                self._opened[name] = self._keys.open_key(name)
            except (KeyDestroyed, UnknownKey):
                self._opened[name] = None
        return self._opened[name]

    def open(self, spec: TableSpec, row: Mapping[str, Any], column: str) -> bytes | None:
        """A sealed value of a row with `id` and `key`; None where there is none, or it does not open."""
        key, sealed = self.key(row["key"]), row[column]
        if key is None or sealed is None:
            return None
        try:
            return open_field(sealed, table=spec.name, column=column, id=row["id"], day=key.day, key=key)
        except EnvelopeError:
            return None

    def seal(self, spec: TableSpec, row: Mapping[str, Any], column: str, value: bytes) -> bytes:
        """Seal a value of a row with `id` and `key`.

        Raises:
            ValueError: the row's key is dark; nothing can be sealed under it.
        """
        key = self.key(row["key"])
        if key is None:
            raise ValueError(f"The data key {row['key']} was destroyed or never held: nothing is sealed under it.")
        return seal_field(
            value, table=spec.name, column=column, id=row["id"], day=key.day, key=key, nonce=os.urandom(NONCE_BYTES)
        )
