"""Files that are sealed as they are written, and opened as they are read: any size, in pieces that fit in memory.

The format is one line of JSON (what it is, by which key, its salt), then pieces: a length of four bytes, and
AES-256-GCM under a key that HKDF-SHA256 (RFC 5869) makes of the caller's key and the file's own salt. A piece's nonce
is its number and whether it is the last, so that pieces cannot be left out, doubled, reordered or cut off (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizar, 2015); the header is authenticated with each.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from resources.failures import PermanentFailure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = "darkroom sealed file 1"
PIECE_BYTES = 4 * 1024 * 1024
SALT_BYTES = 32
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">3xQB")
_HEADER_BYTES = 4096


class SealBroken(PermanentFailure):
    """A sealed file is not what was sealed: cut short, changed, another's, or by another key."""


@dataclass(frozen=True)
class Header:
    """What a sealed file says of itself, in the clear.

    Args:
        place: its name among the files that were sealed with it; bound by the seal.
        key: whose key it is, in the words of who seals; None where that needs none.
        salt: 32 bytes of its own.
    """

    place: str
    key: str | None
    salt: bytes

    def line(self) -> bytes:
        """The header as it stands in the file."""
        said = {"format": FORMAT, "place": self.place, "key": self.key, "salt": base64.b64encode(self.salt).decode()}
        return json.dumps(said).encode() + b"\n"


def seal_file(source: BinaryIO, target: Path, place: str, key: bytes, name: str | None = None) -> int:
    """Write what `source` gives, sealed, to a new file. Returns the bytes that were read.

    Args:
        key: 32 bytes.
        name: whose key it is, for `Header.key`.

    Raises:
        FileExistsError: there is such a file.
        OSError: it could not be written; half of it may stand.
    """
    header = Header(place, name, os.urandom(SALT_BYTES))
    cipher, total, number = _cipher(key, header), 0, 0
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(header.line())
        piece = source.read(PIECE_BYTES)
        while True:
            after = source.read(PIECE_BYTES) if piece else b""
            sealed = cipher.encrypt(_NONCE.pack(number, not after), piece, header.line())
            file.write(_LENGTH.pack(len(sealed)) + sealed)
            total, number = total + len(piece), number + 1
            if not after:
                break
            piece = after
        file.flush()
        os.fsync(file.fileno())
    return total


def open_file(path: Path, place: str, key_of: Callable[[Header], bytes], target: BinaryIO) -> int:
    """Write what was sealed to `target`, piece by piece, each after it was proved. Returns the bytes.

    Args:
        place: what the file has to be.
        key_of: the key by the header; what it raises goes through.

    Raises:
        SealBroken: it is not what was sealed; what was written before is, as far as it goes.
        OSError: it could not be read.
    """
    from cryptography.exceptions import InvalidTag

    with path.open("rb") as file:
        header = read_header(file, path)
        if header.place != place:
            raise SealBroken(f"{path} says that it is {header.place}, and not {place}: somebody moved it.")
        cipher, total, number, last = _cipher(key_of(header), header), 0, 0, False
        while not last:
            length = file.read(_LENGTH.size)
            if len(length) < _LENGTH.size:
                raise SealBroken(f"{path} is cut short after {total:,} bytes.")
            (size,) = _LENGTH.unpack(length)
            sealed = file.read(min(size, PIECE_BYTES + 16))
            for last in (False, True):
                try:
                    piece = cipher.decrypt(_NONCE.pack(number, last), sealed, header.line())
                    break
                except InvalidTag:
                    continue
            else:
                raise SealBroken(f"{path} does not open at byte {total:,}: it was changed, or its key is another.")
            target.write(piece)
            total, number = total + len(piece), number + 1
        if file.read(1):
            raise SealBroken(f"{path} goes on behind its end.")
    return total


def read_header(file: BinaryIO, path: Path) -> Header:
    """The header at the beginning of a file. Raises SealBroken where there is none."""
    line = file.readline(_HEADER_BYTES)
    try:
        said = json.loads(line)
        if said["format"] != FORMAT:
            raise ValueError(said["format"])
        header = Header(str(said["place"]), said["key"], base64.b64decode(said["salt"], validate=True))
    except (ValueError, KeyError, TypeError):
        raise SealBroken(f"{path} is no file of a backup: it does not begin with {FORMAT!r}.") from None
    if header.line() != line:
        raise SealBroken(f"{path} has a header that nobody wrote so.")
    return header


def _cipher(key: bytes, header: Header) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), 32, header.salt, FORMAT.encode()).derive(key))
