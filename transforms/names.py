"""What things are called: image ids, pseudonyms, data keys and days.

Why: names that stay in clear must say nothing that outlives their day. Mechanism: HMAC-SHA-256 under the platform
secret over length-prefixed parts, the day among them; base32 (RFC 4648) in lower case without padding, so that a name
is a header, a URL and a path as it is. Part of envelope version 1 (docs/envelope.md); tests/vectors/envelope.json holds
known answers. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ID_CHARACTERS = 26
PSEUDONYM_CHARACTERS = 16
SUFFIX_CHARACTERS = 13
BASE32 = "[a-z2-7]"
ID = re.compile(rf"{BASE32}{{{ID_CHARACTERS}}}")
PSEUDONYM = re.compile(rf"{BASE32}{{{PSEUDONYM_CHARACTERS}}}")

_LENGTH = struct.Struct(">I")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_KEY_NAME = re.compile(rf"({_DAY.pattern})_({PSEUDONYM.pattern})_({BASE32}{{{SUFFIX_CHARACTERS}}})")


@dataclass(frozen=True)
class KeyName:
    """The parts of a data key's name, `<day>_<pseudonym>_<suffix>`: whose it is shows without opening anything."""

    day: date
    pseudonym: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.day.isoformat()}_{self.pseudonym}_{self.suffix}"

    @classmethod
    def parse(cls, name: str) -> KeyName:
        """The parts of `name`; strict, for names come from headers that anyone may write.

        Raises:
            ValueError: not exactly the form above, lower case, with a day that exists.
        """
        found = _KEY_NAME.fullmatch(name)
        day = parse_day(found[1]) if found else None
        if found is None or day is None:
            raise ValueError(f"{shown(name)} is no data key's name; one is <YYYY-MM-DD>_<16 of a-z2-7>_<13 of a-z2-7>.")
        return cls(day, found[2], found[3])


@dataclass(frozen=True)
class DataKey:
    """A data key in the open: its name (`KeyName`) and 32 bytes of material, which neither repr nor pickle shows."""

    name: str
    material: bytes

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise ValueError(
                f"A data key has {KEY_BYTES} bytes of material; {self.name} was given {len(self.material)}."
            )
        KeyName.parse(self.name)

    def __repr__(self) -> str:
        return f"DataKey(name={self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"Data key {self.name} does not travel: send its name, and open it there from the key store.")

    @cached_property
    def cipher(self) -> AESGCM:
        """AES-256-GCM under this key, set up once: the key schedule is paid once per key, not per image."""
        return AESGCM(self.material)

    @cached_property
    def day(self) -> date:
        """The day the key belongs to."""
        return KeyName.parse(self.name).day


def day_of(instant: datetime) -> date:
    """The UTC day of an instant.

    Raises:
        ValueError: the instant has no zone, so that its day cannot be known.
    """
    if instant.utcoffset() is None:
        raise ValueError(f"{instant.isoformat()} has no time zone; a day is taken in UTC only.")
    return instant.astimezone(UTC).date()


def image_id(secret: bytes, uploader: str, sha256: bytes, day: date) -> str:
    """The id of an image: 26 characters of a-z2-7 (130 bits), the same for a resend within the day.

    Args:
        secret: the platform secret, 32 bytes.
        uploader: the token's subject; "" for a record that came unsealed.
        sha256: SHA-256 of the image, 32 raw bytes.
        day: the day the door stamped.
    """
    if len(sha256) != hashlib.sha256().digest_size:
        raise ValueError(f"sha256 takes the 32 raw bytes of a digest; {len(sha256)} bytes were given.")
    return _keyed(secret, uploader.encode(), sha256, day.isoformat().encode())[:ID_CHARACTERS]


def pseudonym(secret: bytes, uploader: str, day: date) -> str:
    """The uploader's pseudonym of one day: 16 characters of a-z2-7 (80 bits)."""
    return _keyed(secret, b"uploader", uploader.encode(), day.isoformat().encode())[:PSEUDONYM_CHARACTERS]


def base32(raw: bytes) -> str:
    """RFC 4648 base32 in lower case, without padding."""
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def length_prefixed(*parts: bytes) -> bytes:
    """The parts, each behind its length as an unsigned 32-bit big-endian number: no two lists give the same bytes."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def parse_day(text: str) -> date | None:
    """The day written as YYYY-MM-DD in ASCII digits, or None for anything else."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def shown(value: str | bytes | None) -> str:
    """A foreign value as a message may show it: ASCII only, cut at 64."""
    return ascii(value) if value is None or len(value) <= 64 else f"{value[:64]!a}... ({len(value)} long)"


def _keyed(secret: bytes, *parts: bytes) -> str:
    if len(secret) < KEY_BYTES:
        raise ValueError(f"The platform secret has at least {KEY_BYTES} bytes; {len(secret)} were given.")
    return base32(hmac.digest(secret, length_prefixed(*parts), "sha256"))
