"""What doors and developing ask of the key store, for those who are handed one; `resources.keys.KeyStore` is it."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from transforms.names import DataKey


class Keys(Protocol):
    """Keys by name. Every method raises KeyUnavailable."""

    def platform_secret(self) -> bytes:
        """What ids and pseudonyms are keyed with."""
        ...

    def current_key(self, day: date, pseudonym: str) -> DataKey:
        """The key that seals a pseudonym's images of a day; raises DayDestroyed."""
        ...

    def first_key(self, day: date, pseudonym: str) -> DataKey:
        """The key that a pseudonym's day began with; raises UnknownKey, KeyDestroyed. None is made."""
        ...

    def open_key(self, name: str) -> DataKey:
        """The key of that name; raises UnknownKey, KeyDestroyed."""
        ...

    def erased_ids(self, day: date) -> frozenset[str]:
        """Ids of the day's images that were erased one by one; read anew each time."""
        ...
