"""The key store's records, read and written anew each time: wrapped keys, pointers and tombstones.

Why apart from `resources.keys`: here is what stands in the store and how it may change, there what a process keeps in
mind. Mechanism: each record is one JSON object made create-if-absent; one change is allowed, material to tombstone.
A pointer names the current key of a pseudonym's day; after that key's erasure the successor's pointer is another
object, `<pseudonym>-<erased suffix>.next`: nothing is ever repointed, so no race can leave two current keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from resources.key_holds import HELD, KeyHolds, held_path
from resources.key_objects import MARK, KeyObjects, KeyUnavailable, UnknownKey
from resources.key_provider import KeyProvider, unwrap_under, wrap_under
from transforms.names import KEY_BYTES, DataKey, KeyName, base32

SUFFIX_BYTES = 8
_SECRET_NAME = "platform-secret"  # noqa: S105 - the name of its record, not the secret


@dataclass(frozen=True)
class Tombstone:
    """What is left of a destroyed key: its name (a data key's, or a day as YYYY-MM-DD), when and by whom."""

    name: str
    when: datetime
    who: str


def day_path(day: date) -> str:
    """The object of a day's key."""
    return f"days/{day.isoformat()}.json"


def data_path(name: KeyName) -> str:
    """The object of a data key."""
    return f"data/{name.day.isoformat()}/{name.pseudonym}-{name.suffix}.json"


def pointer_path(day: date, pseudonym: str) -> str:
    """The object that names the first current key of a pseudonym's day."""
    return f"data/{day.isoformat()}/{pseudonym}.current"


class KeyRecords:
    """The records of one store. Everything raises KeyUnavailable where the store cannot say."""

    def __init__(self, objects: KeyObjects, provider: KeyProvider, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._provider = provider
        self._now = now
        self.holds = KeyHolds(objects, provider, now)

    def make_secret(self) -> None:
        """Make customer-managed key and platform secret, each unless it is there."""
        self._objects.prepare()
        if self._objects.read(MARK, store_must_exist=False) is not None:
            return
        # Looked for again: another maker may have finished, and sealed under a day's key, since the first look.
        if self._objects.holds("days") and self._objects.read(MARK, store_must_exist=False) is None:
            # A new secret would give every image and person another name, and nobody would be told.
            raise self._objects.damaged(MARK, "keys of days are there and it is gone")
        self._provider.make()
        wrapped = self._provider.wrap(os.urandom(KEY_BYTES), _SECRET_NAME, _SECRET_NAME)
        self._objects.create(MARK, self._document(_SECRET_NAME, _SECRET_NAME, wrapped), store_must_exist=False)

    def secret(self) -> bytes:
        """The platform secret."""
        self._objects.require_store()
        document = self._stands(MARK)
        secret = self._provider.unwrap(document, _SECRET_NAME, _SECRET_NAME)
        if secret is None:
            raise self._foreign(MARK, document)
        return secret

    def day_record(self, day: date) -> dict[str, Any] | Tombstone | None:
        """The record of the day's key, its tombstone, or None where there is neither; nothing is unwrapped."""
        path = day_path(day)
        document = self._objects.read(path)
        return None if document is None else self._tombstone(document, path) or document

    def unwrap_day(self, day: date, record: dict[str, Any]) -> bytes:
        """The day's key out of its record, by the customer-managed key."""
        material = self._provider.unwrap(record, "day", day.isoformat())
        if material is None:
            raise self._foreign(day_path(day), record)
        return material

    def make_day_record(self, day: date) -> dict[str, Any] | Tombstone:
        """The record of the day's key, made where there is none, or its tombstone."""
        found = self.day_record(day)
        if found is None:
            self._make_day_key(day)
            found = self.day_record(day)  # the winner's, which may be another's
        if found is None:
            raise self._objects.damaged(day_path(day), "it was there and is gone")
        return found

    def rewrap(self) -> Iterator[tuple[str, bool]]:
        """Wrap the platform secret and the days' keys under the customer-managed key as it is now, one after the
        other; what stands so already is passed over, and a tombstone stays one.

        Yields:
            The name of each, and whether it was wrapped anew.
        """
        yield _SECRET_NAME, self._rewrap(MARK, _SECRET_NAME, _SECRET_NAME)
        for day in self.days():
            yield day.isoformat(), self._rewrap(day_path(day), "day", day.isoformat())
        for hold in self.holds.held():
            # Named by the day alone: who it is of belongs into no progress.
            yield f"held on {hold.day}", self._rewrap(held_path(hold.key), HELD, str(hold.key))

    def days(self) -> list[date]:
        """Days that have a key or its tombstone, sorted."""
        found = []
        for file in self._objects.names("days"):
            with suppress(ValueError):
                found.append(date.fromisoformat(file.removesuffix(".json")))
        return found

    def day_tombstone(self, day: date) -> Tombstone | None:
        """The day's tombstone, where it is destroyed; nothing is opened for it."""
        document = self._objects.read(day_path(day))
        return self._tombstone(document, day_path(day)) if document else None

    def _rewrap(self, path: str, kind: str, name: str) -> bool:
        while True:
            document = self._objects.read(path) if kind == HELD else self._stands(path)
            if document is None or self._tombstone(document, path) is not None:
                return False
            material = self._provider.unwrap(document, kind, name)
            if material is None:
                raise self._foreign(path, document)
            wrapped = self._provider.wrap(material, kind, name)
            if wrapped["wrapped_by"] == document["wrapped_by"]:
                self._objects.forget_versions(path)
                return False
            # Of somebody who destroys the day meanwhile, the tombstone stands.
            if self._objects.exchange(path, {**document, **wrapped}, document):
                return True

    def data_key(self, name: KeyName, wrapping: bytes | Tombstone | None) -> DataKey | Tombstone:
        """The data key under its day's key, or the tombstone of either. Raises UnknownKey too."""
        path = data_path(name)
        document = self._objects.read(path)
        if document is None:
            if isinstance(wrapping, Tombstone):
                # The keys of a destroyed day are cleared away; one that never was is as dark.
                return self.holds.open(name) or wrapping
            raise UnknownKey(str(name))
        if tombstone := self._tombstone(document, path):
            return tombstone
        if isinstance(wrapping, Tombstone):
            return self.holds.open(name) or wrapping
        if wrapping is None:
            raise self._objects.damaged(day_path(name.day), "its data keys are there and it is gone")
        material = unwrap_under(wrapping, name.day.isoformat(), document, "data", str(name))
        if material is None:
            raise self._foreign(path, document)
        return DataKey(str(name), material)

    def current_key(self, day: date, pseudonym: str, wrapping: bytes) -> DataKey:
        """The key that the last pointer names, made where there is none."""
        place = pointer_path(day, pseudonym)
        while True:
            pointer = self._objects.read(place)
            name = self._pointed(pointer, place) if pointer else self._make_data_key(day, pseudonym, wrapping, place)
            found = self.data_key(name, wrapping)
            if isinstance(found, DataKey):
                return found
            place = f"data/{day.isoformat()}/{pseudonym}-{name.suffix}.next"

    def first_key(self, day: date, pseudonym: str) -> KeyName | None:
        """Name of the first key of a pseudonym's day, destroyed or not; None where there was never one."""
        place = pointer_path(day, pseudonym)
        pointer = self._objects.read(place)
        return None if pointer is None else self._pointed(pointer, place)

    def destroy_day(self, day: date, who: str) -> Tombstone:
        """Put a tombstone in place of the day's key, or where it would stand."""
        path = day_path(day)
        return self._destroy(path, self._objects.read(path), "day", day.isoformat(), who)

    def destroy_key(self, name: KeyName, who: str) -> Tombstone:
        """Put a tombstone in place of the data key. Raises UnknownKey too."""
        document = self._objects.read(data_path(name))
        if document is None:
            raise UnknownKey(str(name))
        return self._destroy(data_path(name), document, "data", str(name), who)

    def clear_days(self) -> int:
        """Remove what lies under the keys of destroyed days: wrapped data keys, pointers, and notes of erased images,
        which open and refuse nothing any more. Returns how many objects; repeating it is harmless.

        Of a day with a key that is held the notes stay: that key opens still, and an erased image is to be refused.
        """
        count, held = 0, {one.day for one in self.holds.held()}
        for day in self.days():
            if self.day_tombstone(day) is None:
                continue
            notes = () if day in held else (f"erased/{day.isoformat()}",)
            for below in (f"data/{day.isoformat()}", *notes):
                if self._objects.holds(below):
                    for file in self._objects.names(below):
                        self._objects.delete(f"{below}/{file}")
                        count += 1
                    self._objects.forget_versions(f"{below}/")
        return count

    def key_names(self, day: date, pseudonym: str) -> list[str]:
        """Names of the data keys of a pseudonym's day, destroyed ones too, sorted."""
        names = []
        for file in self._objects.names(f"data/{day.isoformat()}"):
            stem, dot, kind = file.rpartition(".")
            whose, dash, suffix = stem.partition("-")
            if dot and dash and kind == "json" and whose == pseudonym:
                names.append(str(KeyName(day, pseudonym, suffix)))
        return names

    def _make_day_key(self, day: date) -> None:
        material = os.urandom(KEY_BYTES)
        wrapped = self._provider.wrap(material, "day", day.isoformat())
        document = self._document("day", day.isoformat(), wrapped)
        if not self._objects.create(day_path(day), document):
            return
        # A rotation that has looked at all days before this one was there would leave it under a key that is erased.
        while not self._provider.wraps_so(wrapped):
            wrapped = self._provider.wrap(material, "day", day.isoformat())
            # Who seals may delete no version; the next rotation does.
            if not self._objects.exchange(day_path(day), {**document, **wrapped}, document, forget=False):
                return  # somebody else has wrapped it anew, or destroyed it
            document = {**document, **wrapped}

    def _make_data_key(self, day: date, pseudonym: str, wrapping: bytes, pointer: str) -> KeyName:
        """Make a key, then the pointer that makes it the current one; the name that the pointer then holds."""
        name = KeyName(day, pseudonym, base32(os.urandom(SUFFIX_BYTES)))
        wrapped = wrap_under(wrapping, day.isoformat(), os.urandom(KEY_BYTES), "data", str(name))
        self._objects.create(data_path(name), self._document("data", str(name), wrapped))
        if self._objects.create(pointer, {"kind": "pointer", "name": str(name)}):
            return name
        winner = self._pointed(self._stands(pointer), pointer)
        if winner != name:  # else it was made by our own first try, whose answer was lost on the way
            self._objects.delete(data_path(name))  # another maker was first; nothing was ever sealed under this one
        return winner

    def _pointed(self, pointer: dict[str, Any], path: str) -> KeyName:
        try:
            return KeyName.parse(str(pointer.get("name")))
        except ValueError:
            raise self._objects.damaged(path, "it points to no key") from None

    def _destroy(self, path: str, document: dict[str, Any] | None, kind: str, name: str, who: str) -> Tombstone:
        if not who.strip():
            raise ValueError(f"Who destroys {name} must be said; an empty name was given.")
        if document and (before := self._tombstone(document, path)):
            self._objects.forget_versions(path)  # whoever put the tombstone there may have been stopped before that
            return before
        when = self._now().astimezone(UTC)
        self._objects.replace(path, {"kind": kind, "name": name, "destroyed_at": when.isoformat(), "destroyed_by": who})
        return Tombstone(name, when, who)

    def _tombstone(self, document: dict[str, Any], path: str) -> Tombstone | None:
        if "destroyed_at" not in document:
            return None
        try:
            when = datetime.fromisoformat(document["destroyed_at"])
            return Tombstone(str(document["name"]), when, str(document["destroyed_by"]))
        except (KeyError, TypeError, ValueError):
            raise self._objects.damaged(path, "its tombstone lacks name, when or who") from None

    def _document(self, kind: str, name: str, wrapped: dict[str, str]) -> dict[str, str]:
        return {"kind": kind, "name": name, "made_at": self._now().isoformat(), **wrapped}

    def _stands(self, path: str) -> dict[str, Any]:
        document = self._objects.read(path)
        if document is None:
            raise self._objects.damaged(path, "it was there and is gone")
        return document

    def _foreign(self, path: str, document: dict[str, Any]) -> KeyUnavailable:
        return self._objects.damaged(
            path, f"it does not unwrap; it says that {document.get('wrapped_by')!r} wrapped it"
        )
