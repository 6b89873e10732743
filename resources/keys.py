"""The key store: which key seals, which key opens, and which is gone for good.

Why: erasing is destroying one small wrapped key; topic, lake, old versions and backups go dark at once. Mechanism: the
customer-managed key wraps the platform secret and each day's key; a day's key wraps the data keys, one per uploader's
pseudonym and day; each wrap is bound to its name. Records are made create-if-absent and change once, to a tombstone, so
any number of processes may race and see one winner. docs/keys.md has the layout.

Limits: what was read is remembered for `key_cache_seconds`, measured from the oldest read it rests on. That is how long
a destroyed key, or a disabled customer-managed key, still opens in other processes (the one that destroyed it forgets
it at once); what they seal in that time under a destroyed key is dark from the start. No backup copies the key store:
who loses it loses the images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from resources.key_cache import KeyCache
from resources.key_objects import MARK, DayDestroyed, KeyDestroyed, KeyObjects, UnknownKey
from resources.key_places import customer_key, key_objects
from resources.key_provider import KeyProvider
from resources.key_records import KeyRecords, Tombstone, data_path, day_path, pointer_path
from resources.key_rights import KeyRights, key_rights
from resources.key_trail import key_trail
from resources.settings import Settings
from transforms.names import ID, PSEUDONYM, DataKey, KeyName, pseudonym


class KeyStore:
    """Keys by name. Safe for threads; make one per process, after any fork."""

    def __init__(
        self,
        objects: KeyObjects,
        provider: KeyProvider,
        cache_seconds: float,
        *,
        now: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
        opened: Callable[[str], None] = lambda key: None,
        rights: KeyRights | None = None,
    ) -> None:
        """Nothing is read here.

        Args:
            objects: where the store's objects are.
            provider: who holds the customer-managed key.
            cache_seconds: how long what was read is believed; the revocation delay.
            now: the time that records are stamped with, with a zone.
            timer: seconds that the cache's age is measured in.
            opened: told each data key that is opened from the store, as day and suffix, before it is given out; where
                it raises KeyUnavailable, the key is not.
            rights: of whoever asks; none are all of them. What they do not allow raises KeyForbidden.
        """
        self._objects = objects
        self._records = KeyRecords(objects, provider, now)
        self._now = now
        self._timer = timer
        self._opened = opened
        self._rights = rights or KeyRights("this process")
        self._cache = KeyCache(cache_seconds, timer)

    def initialise(self) -> None:
        """Make the store, its customer-managed key and platform secret, each unless it is there; harmless to repeat.

        Raises:
            KeyUnavailable: the place cannot be read or written.
        """
        self._rights.require("SEAL")
        self._records.make_secret()

    def require(self) -> None:
        """Raise KeyUnavailable unless the store stands where the settings say."""
        self._objects.require_store()

    def platform_secret(self) -> bytes:
        """The 32 bytes that ids and pseudonyms are keyed with; one for all sites. Raises KeyUnavailable."""
        self._rights.require("OPEN", "SEAL")
        if (held := self._cache.get(MARK)) is not None:
            return held[0]
        since = self._timer()
        secret = self._records.secret()
        self._cache.remember(MARK, secret, since)
        return secret

    def current_key(self, day: date, pseudonym: str) -> DataKey:
        """The key that seals a pseudonym's images of a day; made where there is none, by one winner among any number.

        Raises:
            DayDestroyed: the day takes no new key.
            KeyUnavailable: the store cannot say.
            ValueError: `pseudonym` is none.
        """
        if not PSEUDONYM.fullmatch(pseudonym):
            raise ValueError(f"{pseudonym!r} is no pseudonym; one matches {PSEUDONYM.pattern}.")
        self._rights.require("SEAL")
        pointer = pointer_path(day, pseudonym)
        if (pointed := self._cache.get(pointer)) is not None:
            held = self._cache.get(data_path(pointed[0]))
            if held is not None and isinstance(held[0], DataKey):
                return held[0]
        since = self._timer()
        record = self._records.make_day_record(day)  # not from memory: a destroyed day takes no key
        if isinstance(record, Tombstone):
            self._cache.remember(day_path(day), record, since)
            raise DayDestroyed(record.name, record.when, record.who)
        wrapping, since = self._unwrapped(day, record, since)
        self._cache.remember(day_path(day), wrapping, since)
        key = self._records.current_key(day, pseudonym, wrapping)
        name = KeyName.parse(key.name)
        self._opened(f"{day}/{name.suffix}")
        self._cache.remember(pointer, name, since)
        self._cache.remember(data_path(name), key, since)
        return key

    def first_key(self, day: date, pseudonym: str) -> DataKey:
        """The key that a pseudonym's day began with. While it opens, the day never had another: all was sealed with it.

        Raises:
            UnknownKey: the day has none, and none is made.
            KeyDestroyed: it, or the day, was destroyed; a later key may live.
            KeyUnavailable: the store cannot say.
            ValueError: `pseudonym` is none.
        """
        if not PSEUDONYM.fullmatch(pseudonym):
            raise ValueError(f"{pseudonym!r} is no pseudonym; one matches {PSEUDONYM.pattern}.")
        name = self._records.first_key(day, pseudonym)
        if name is None:
            raise UnknownKey(f"the first key of {pseudonym} on {day}")
        return self.open_key(str(name))

    def open_key(self, name: str) -> DataKey:
        """The key of that name, opened.

        Raises:
            UnknownKey: never held, or no key's name at all (names come from headers that anyone may write).
            KeyDestroyed: it, or its day, was destroyed.
            KeyUnavailable: the store cannot say.
        """
        parsed = _parsed(name)
        self._rights.require("OPEN")
        found = self._found(parsed)
        if isinstance(found, Tombstone):
            raise KeyDestroyed(name, found.when, found.who)
        return found

    def day_secret(self, day: date, purpose: str, *, make: bool = False) -> bytes:
        """32 bytes that go with a day's key, and end with it; for what is sealed by the day and not by an uploader.

        By HKDF-SHA256 (RFC 5869) of the day's key, so that any copy of the store that knows the day knows them.

        Args:
            purpose: what for, which sets them apart; on the trail, too.
            make: the day's key where there is none, which takes the right to seal.

        Raises:
            UnknownKey: the day has no key, and none is made.
            DayDestroyed: it was destroyed.
            KeyUnavailable: the store cannot say.
        """
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        self._rights.require("OPEN")
        if make:
            self._rights.require("SEAL")
        since = self._timer()
        record = self._records.make_day_record(day) if make else self._records.day_record(day)
        if record is None:
            raise UnknownKey(f"the key of {day}")
        if isinstance(record, Tombstone):
            raise DayDestroyed(record.name, record.when, record.who)
        wrapping, _ = self._unwrapped(day, record, since)
        self._opened(f"{day}/{purpose}")
        return HKDF(SHA256(), 32, None, f"darkroom {purpose} {day}".encode()).derive(wrapping)

    def pseudonym(self, uploader: str, day: date) -> str:
        """What an uploader is called on a day. Raises KeyUnavailable."""
        return pseudonym(self.platform_secret(), uploader, day)

    def destroy_key(self, name: str, who: str) -> Tombstone:
        """Replace a data key's material by a tombstone: what it sealed is dark. Done before: the first tombstone stays.

        Raises:
            UnknownKey: there is no such key.
            KeyUnavailable: the store cannot say; ask again, for it may or may not be destroyed.
        """
        parsed = _parsed(name)
        self._rights.require("DESTROY")
        try:
            return self._records.destroy_key(parsed, who)
        finally:
            self._cache.forget(lambda path: path == data_path(parsed))

    def destroy_day(self, day: date, who: str) -> Tombstone:
        """Replace a day's key by a tombstone, also where it has none yet: its images are dark, and it takes no new key.

        Raises:
            KeyUnavailable: the store cannot say; ask again, for it may or may not be destroyed.
        """
        self._rights.require("DESTROY")
        below = f"data/{day.isoformat()}/"
        try:
            return self._records.destroy_day(day, who)
        finally:
            gone = (day_path(day), f"unwrapped/{day}")
            self._cache.forget(lambda path: path in gone or path.startswith(below))

    def is_destroyed(self, day: date) -> bool:
        """Whether a day's key was destroyed; read anew each time. Raises KeyUnavailable."""
        return self._records.day_tombstone(day) is not None

    def key_names(self, day: date, pseudonym: str) -> list[str]:
        """Names of all data keys of a pseudonym's day, destroyed ones too, sorted. Raises KeyUnavailable."""
        return self._records.key_names(day, pseudonym)

    def erased_ids(self, day: date) -> frozenset[str]:
        """Ids of the day's images that were erased one by one; read anew each time. Raises KeyUnavailable."""
        ids = (file.removesuffix(".json") for file in self._objects.names(f"erased/{day.isoformat()}"))
        return frozenset(id for id in ids if ID.fullmatch(id))

    def mark_erased(self, day: date, id: str, who: str) -> None:
        """Note that one image was erased; noted before: the first note stays.

        Raises:
            ValueError: `id` is no image id.
            KeyUnavailable: the store is away, and nothing was noted.
        """
        if not ID.fullmatch(id):
            raise ValueError(f"{id!r} is no image id; one matches {ID.pattern}.")
        self._rights.require("DESTROY")
        note = {"kind": "erased", "name": id, "erased_at": self._now().isoformat(), "erased_by": who}
        self._objects.create(f"erased/{day.isoformat()}/{id}.json", note)

    def _found(self, name: KeyName) -> DataKey | Tombstone:
        path = data_path(name)
        if (held := self._cache.get(path)) is not None:
            return held[0]
        since = self._timer()
        if (day_held := self._cache.get(day_path(name.day))) is not None:
            wrapping, since = day_held  # a key is no younger than the day's key it was opened with
        else:
            wrapping = self._records.day_record(name.day)
            if isinstance(wrapping, dict):
                wrapping, since = self._unwrapped(name.day, wrapping, since)
            if wrapping is not None:
                self._cache.remember(day_path(name.day), wrapping, since)
        found = self._records.data_key(name, wrapping)
        if isinstance(found, DataKey):
            self._opened(f"{name.day}/{name.suffix}")
        self._cache.remember(path, found, since)
        return found

    def _unwrapped(self, day: date, record: dict[str, Any], since: float) -> tuple[bytes, float]:
        """A day's key out of its record that was read at `since`, and since when that is believed.

        The customer-managed key is asked once while what it said is believed, however many uploaders there are.
        """
        path, wrapped = f"unwrapped/{day}", record.get("wrapped")
        held = self._cache.get(path)
        if held is not None and held[0][0] == wrapped:
            return held[0][1], held[1]
        material = self._records.unwrap_day(day, record)
        self._cache.remember(path, (wrapped, material), since)
        return material, since


def open_key_store(settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> KeyStore:
    """The key store that the settings name. Nothing is read yet, and nothing made (`initialise` does that)."""
    objects = key_objects(settings)
    customer, trail = customer_key(settings, objects, now), key_trail(settings)
    rights = key_rights(settings)
    return KeyStore(objects, customer, settings.key_cache_seconds, now=now, opened=trail, rights=rights)


def _parsed(name: str) -> KeyName:
    try:
        return KeyName.parse(name)
    except ValueError:
        raise UnknownKey(name) from None
