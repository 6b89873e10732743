"""What is kept beyond its time: days, and single uploaders of days, with who says so and why.

A day is held by a note, which every purge reads. Of an uploader each data key of the day is kept by itself: wrapped a
second time, under the customer-managed key, so that it opens still when the day's key is destroyed and all others are
dark. Releasing deletes that object, and with it the last that opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from resources.key_objects import KeyObjects
from resources.key_provider import KeyProvider
from transforms.names import DataKey, KeyName

HELD = "held"
"""The kind that a kept data key is wrapped as."""


@dataclass(frozen=True)
class Hold:
    """A day that no purge touches: since when, who says so and why."""

    day: date
    since: datetime
    who: str
    why: str


@dataclass(frozen=True)
class HeldKey(Hold):
    """One uploader of a day, whom no purge touches.

    `key` names the data key that is kept.
    """

    key: KeyName


class KeyHolds:
    """The holds of one store. Everything raises KeyUnavailable where the store cannot say."""

    def __init__(self, objects: KeyObjects, provider: KeyProvider, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._provider = provider
        self._now = now

    def hold(self, day: date, who: str, why: str) -> bool:
        """Note that a day is kept beyond its time; False where a hold stands already."""
        note = {"kind": "hold", "name": day.isoformat(), **self._said(who, why)}
        return self._objects.create(f"holds/{day.isoformat()}.json", note)

    def release(self, day: date) -> None:
        """Take a day's hold away; none there is no error."""
        self._objects.delete(f"holds/{day.isoformat()}.json")

    def days(self) -> dict[date, Hold]:
        """Days that are kept whole."""
        found = {}
        for file in self._objects.names("holds"):
            path = f"holds/{file}"
            if (document := self._objects.read(path)) is not None:  # else released since it was listed
                hold = self._read(path, document)
                found[hold.day] = hold
        return found

    def keep(self, key: DataKey, who: str, why: str) -> bool:
        """Keep a data key beyond its day's; False where it is kept already."""
        note = {"kind": HELD, "name": key.name, **self._said(who, why)}
        wrapped = self._provider.wrap(key.material, HELD, key.name)
        path = held_path(KeyName.parse(key.name))
        if not self._objects.create(path, {**note, **wrapped}):
            return False
        # A rotation that has listed the kept keys before this one was there would leave it under a key that is erased.
        while not self._provider.wraps_so(wrapped):
            before = {**note, **wrapped}
            wrapped = self._provider.wrap(key.material, HELD, key.name)
            if not self._objects.exchange(path, {**note, **wrapped}, before):
                break  # wrapped anew by somebody else, or released
        return True

    def held(self) -> list[HeldKey]:
        """The data keys that are kept, by day and name; nothing is opened."""
        found = []
        for file in self._objects.names(HELD):
            path = f"{HELD}/{file}"
            if (document := self._objects.read(path)) is not None:
                hold = self._read(path, document)
                if not isinstance(hold, HeldKey):
                    raise self._objects.damaged(path, "it is no held key")
                found.append(hold)
        return found

    def open(self, name: KeyName) -> DataKey | None:
        """A kept data key; None where it is not kept."""
        path = held_path(name)
        document = self._objects.read(path)
        if document is None:
            return None
        material = self._provider.unwrap(document, HELD, str(name))
        if material is None:
            raise self._objects.damaged(path, f"it does not unwrap under {document.get('wrapped_by')!r}")
        return DataKey(str(name), material)

    def let_go(self, name: KeyName) -> None:
        """Keep a data key no longer; where its day's key is destroyed it is dark from here on."""
        self._objects.delete(held_path(name))
        self._objects.forget_versions(held_path(name))

    def _said(self, who: str, why: str) -> dict[str, str]:
        return {"held_at": self._now().isoformat(), "held_by": who, "why": why}

    def _read(self, path: str, document: dict[str, Any]) -> Hold:
        try:
            said = datetime.fromisoformat(document["held_at"]), str(document["held_by"]), str(document["why"])
            if document["kind"] == HELD:
                name = KeyName.parse(document["name"])
                return HeldKey(name.day, *said, name)
            return Hold(date.fromisoformat(document["name"]), *said)
        except (KeyError, TypeError, ValueError):
            raise self._objects.damaged(path, "it is no hold with name, held_at, held_by and why") from None


def held_path(name: KeyName) -> str:
    """The object of a data key that is kept."""
    return f"{HELD}/{name.day.isoformat()}.{name.pseudonym}-{name.suffix}.json"
