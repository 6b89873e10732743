"""The customer-managed key: the one key that everything in the key store hangs on.

Why: whoever owns it can switch all images off, and on again, without touching the platform. Mechanism: a provider wraps
and unwraps 32 bytes bound to a context (associated data) and gives its own material to nobody; a cloud's KMS has those
two calls. The `local` provider keeps the key as the object `cmk.json` and wraps with AES-256-GCM.

The local key has the states of a cloud's: enabled, disabled, pending deletion until its window ends, destroyed. When
the window has ended, the first who looks erases the material. Rotated, it keeps the older materials until everything
is wrapped under the new one.

Limit of `local`: the key lies in the same store as what it wraps, so whoever reads the folder reads everything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resources.key_objects import KeyObjects, KeyUnavailable
from transforms.names import KEY_BYTES, base32, length_prefixed

CMK = "cmk.json"
_NONCE_BYTES = 12
State = Literal["enabled", "disabled", "pending deletion", "destroyed"]
WINDOW_DAYS = 7
"""Days between the wish to delete the customer-managed key and its end, unless others are asked for; KMS's fewest."""


@dataclass(frozen=True)
class Cmk:
    """The customer-managed key as it stands: its id, its state, when it will end or has ended, and the ids of older
    keys that still unwrap."""

    id: str
    state: State
    until: datetime | None = None
    older: tuple[str, ...] = ()


class KeyProvider(Protocol):
    """What the key store needs of a key management service."""

    def make(self) -> None:
        """Make the customer-managed key unless there is one."""

    def wrap(self, material: bytes, kind: str, name: str) -> dict[str, str]:
        """Material sealed for one kind and name, with the id of the key that did it. Raises KeyUnavailable."""
        ...

    def unwrap(self, document: dict[str, Any], kind: str, name: str) -> bytes | None:
        """The material; None where the document was not wrapped so. Raises KeyUnavailable."""
        ...

    def wraps_so(self, wrapped: dict[str, str]) -> bool:
        """Whether what `wrap` gave is still wrapped as it would be now: the key was not rotated since."""
        ...


class CustomerKey(KeyProvider, Protocol):
    """What the owner of a customer-managed key does with it. Every method raises KeyUnavailable."""

    def describe(self) -> Cmk:
        """The key as it stands."""
        ...

    def set_state(self, state: State) -> None:
        """Switch it on or off; on also takes a pending deletion back."""
        ...

    def schedule_deletion(self, days: int, who: str) -> Cmk:
        """Delete it when so many days have passed; what it wraps is dark for good then."""
        ...

    def rotate(self) -> str:
        """Wrap with a new key from now on, and unwrap what older ones wrapped still. Returns the new one's id."""
        ...

    def forget_older(self) -> None:
        """Erase the older keys: everything is wrapped under the new one."""
        ...


def wrap_under(key: bytes, by: str, material: bytes, kind: str, name: str) -> dict[str, str]:
    """Wrap 32 bytes under a key called `by`: AES-256-GCM, names as associated data; base64 of nonce and sealed."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, material, _context(by, kind, name))
    return {"wrapped_by": by, "wrapped": base64.b64encode(sealed).decode()}


def unwrap_under(key: bytes, by: str, document: dict[str, Any], kind: str, name: str) -> bytes | None:
    """The material, or None where the document was not wrapped under this key for this kind and name."""
    try:
        sealed = base64.b64decode(document["wrapped"], validate=True)
        material = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _context(by, kind, name))
    except (KeyError, TypeError, ValueError, InvalidTag):
        return None
    return material if len(material) == KEY_BYTES else None


class LocalKeyProvider:
    """The customer-managed key as a file of the key store. Holds to `CustomerKey`.

    Its document: `id`, `state`, `material`; `older`, a list of `id` and `material`; and when it is to end or has ended,
    `delete_at` or `destroyed_at`, and by whom.
    """

    def __init__(self, objects: KeyObjects, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._now = now

    def make(self) -> None:
        """Make the key unless there is one."""
        document = {"kind": "cmk", **self._new(), "state": "enabled", "made_at": self._now().isoformat()}
        self._objects.create(CMK, document, store_must_exist=False)

    def wrap(self, material: bytes, kind: str, name: str) -> dict[str, str]:
        """Wrap under the key as it stands now."""
        by, key = self._keys()[0]
        return wrap_under(key, by, material, kind, name)

    def unwrap(self, document: dict[str, Any], kind: str, name: str) -> bytes | None:
        """Unwrap under the key as it stands now: nothing of it is cached, so switching it off works at once."""
        keys = self._keys()
        by, key = next((one for one in keys if one[0] == document.get("wrapped_by")), keys[0])
        return unwrap_under(key, by, document, kind, name)

    def wraps_so(self, wrapped: dict[str, str]) -> bool:
        """Whether the key is still the one that wrapped this."""
        return self._keys()[0][0] == wrapped["wrapped_by"]

    def describe(self) -> Cmk:
        """The key as it stands."""
        document = self._document()
        until = document.get("destroyed_at") or document.get("delete_at")
        try:
            state: State = document["state"]
            older = tuple(str(one["id"]) for one in document.get("older", []))
            return Cmk(str(document["id"]), state, datetime.fromisoformat(until) if until else None, older)
        except (KeyError, TypeError, ValueError):
            raise self._no_key() from None

    def set_state(self, state: State) -> None:
        """Switch the key on or off; on takes a pending deletion back, too. Off: no key can be opened or made once the
        caches have aged out."""
        if state not in ("enabled", "disabled"):
            raise ValueError(f"State {state!r} is none that a customer-managed key is put into: enabled, disabled.")
        self._change(lambda document: {**_without(document, "delete_at", "delete_by"), "state": state})

    def schedule_deletion(self, days: int, who: str) -> Cmk:
        """Delete it when so many days have passed, at once for 0; until then it is of no use and can be had back."""
        if (stands := self.describe()).state == "destroyed":
            return stands  # whoever did it may have been stopped before they heard of it
        end = (self._now() + timedelta(days=days)).isoformat()
        self._change(lambda document: {**document, "state": "pending deletion", "delete_at": end, "delete_by": who})
        return self.describe()

    def rotate(self) -> str:
        """Wrap with a new key from now on; older ones unwrap until `forget_older`."""
        self._keys()  # one that is switched off is not rotated
        new = self._new()

        def rotated(document: dict[str, Any]) -> dict[str, Any]:
            old = {name: document[name] for name in ("id", "material")}
            return {**document, **new, "older": [old, *document.get("older", [])], "made_at": self._now().isoformat()}

        self._change(rotated)
        return new["id"]

    def forget_older(self) -> None:
        """Erase the older keys."""
        self._change(lambda document: _without(document, "older"))

    def _change(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        while True:
            document = self._document()
            if document.get("state") == "destroyed":
                raise self._gone(document)
            if self._objects.exchange(CMK, change(document), document):
                return

    def _new(self) -> dict[str, str]:
        return {
            "id": f"local-{base32(os.urandom(8))}",
            "material": base64.b64encode(os.urandom(KEY_BYTES)).decode(),
        }

    def _document(self) -> dict[str, Any]:
        document = self._objects.read(CMK)
        if document is None:
            raise KeyUnavailable(
                f"The customer-managed key ({CMK}) is gone from the key store at {self._objects.root}, and what it "
                "wrapped is still there. Put it back; a new one could open nothing.",
                {"keys": self._objects.root},
            )
        end = document.get("delete_at")
        if document.get("state") == "pending deletion" and end and datetime.fromisoformat(end) <= self._now():
            ended = {
                **_without(document, "material", "older", "delete_at", "delete_by"),
                "state": "destroyed",
                "destroyed_at": end,
                "destroyed_by": document.get("delete_by", ""),
            }
            return ended if self._objects.exchange(CMK, ended, document) else self._document()
        return document

    def _keys(self) -> list[tuple[str, bytes]]:
        """The key that wraps, and behind it the older ones."""
        document = self._document()
        by, state = document.get("id"), document.get("state")
        if state == "disabled":
            raise self._off(by, "is disabled: nothing is opened or sealed until its owner enables it.")
        if state == "pending deletion":
            raise self._off(
                by,
                f"is to be deleted at {document.get('delete_at')}: nothing is opened or sealed any more. "
                "`darkroom keys enable` takes that back until then.",
            )
        if state == "destroyed":
            raise self._gone(document)
        try:
            found = [
                (str(one["id"]), base64.b64decode(one["material"], validate=True))
                for one in (document, *document.get("older", []))
            ]
        except (KeyError, TypeError, ValueError):
            raise self._no_key() from None
        if state != "enabled" or any(len(key) != KEY_BYTES for _, key in found):
            raise self._no_key()
        return found

    def _off(self, by: object, why: str) -> KeyUnavailable:
        facts = {"keys": self._objects.root, "cmk": str(by)}
        return KeyUnavailable(f"The customer-managed key {by} {why}", facts)

    def _gone(self, document: Mapping[str, Any]) -> KeyUnavailable:
        when = document.get("destroyed_at")
        return self._off(document.get("id"), f"was destroyed at {when}: what it wrapped stays dark, for everybody.")

    def _no_key(self) -> KeyUnavailable:
        return self._objects.damaged(CMK, "it is no key with id, state and 32 bytes of material")


def _without(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def _context(by: str, kind: str, name: str) -> bytes:
    return length_prefixed(b"darkroom key 1", by.encode(), kind.encode(), name.encode())
