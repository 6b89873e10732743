"""The customer-managed key: the one key that everything in the key store hangs on.

Why: whoever owns it can switch all images off, and on again, without touching the platform. Mechanism: a provider wraps
and unwraps 32 bytes bound to a context (associated data) and gives its own material to nobody; a cloud's KMS has those
two calls. The `local` provider keeps the key as the object `cmk.json` and wraps with AES-256-GCM.

Limit of `local`: the key lies in the same store as what it wraps, so whoever reads the folder reads everything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resources.key_objects import KeyObjects, KeyUnavailable
from transforms.names import KEY_BYTES, base32, length_prefixed

CMK = "cmk.json"
_NONCE_BYTES = 12
State = Literal["enabled", "disabled"]


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
    """The customer-managed key as a file of the key store: id, state (enabled, disabled) and material."""

    def __init__(self, objects: KeyObjects, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._now = now

    def make(self) -> None:
        """Make the key unless there is one."""
        document = {
            "kind": "cmk",
            "id": f"local-{base32(os.urandom(8))}",
            "state": "enabled",
            "material": base64.b64encode(os.urandom(KEY_BYTES)).decode(),
            "made_at": self._now().isoformat(),
        }
        self._objects.create(CMK, document, store_must_exist=False)

    def wrap(self, material: bytes, kind: str, name: str) -> dict[str, str]:
        """Wrap under the key as it stands now."""
        by, key = self._key()
        return wrap_under(key, by, material, kind, name)

    def unwrap(self, document: dict[str, Any], kind: str, name: str) -> bytes | None:
        """Unwrap under the key as it stands now: nothing of it is cached, so switching it off works at once."""
        by, key = self._key()
        return unwrap_under(key, by, document, kind, name)

    def set_state(self, state: State) -> None:
        """Switch the key on or off. Off: no key can be opened or made once the caches have aged out."""
        if state not in ("enabled", "disabled"):
            raise ValueError(f"State {state!r} is none of a customer-managed key's: enabled, disabled.")
        self._objects.replace(CMK, {**self._document(), "state": state})

    def _document(self) -> dict[str, Any]:
        document = self._objects.read(CMK)
        if document is None:
            raise KeyUnavailable(
                f"The customer-managed key ({CMK}) is gone from the key store at {self._objects.root}, and what it "
                "wrapped is still there. Put it back; a new one could open nothing.",
                {"keys": self._objects.root},
            )
        return document

    def _key(self) -> tuple[str, bytes]:
        document = self._document()
        by, state = document.get("id"), document.get("state")
        if state == "disabled":
            raise KeyUnavailable(
                f"The customer-managed key {by} is disabled: nothing is opened or sealed until its owner enables it.",
                {"keys": self._objects.root, "cmk": str(by)},
            )
        try:
            key = base64.b64decode(document["material"], validate=True)
        except (KeyError, TypeError, ValueError):
            key = b""
        if state != "enabled" or len(key) != KEY_BYTES or not isinstance(by, str):
            raise self._objects.damaged(CMK, "it is no key with id, state (enabled, disabled) and 32 bytes of material")
        return by, key


def _context(by: str, kind: str, name: str) -> bytes:
    return length_prefixed(b"darkroom key 1", by.encode(), kind.encode(), name.encode())
