"""Makes `envelope.json` from docs/envelope.md alone: `python tests/vectors/envelope.py > tests/vectors/envelope.json`.

A second implementation on purpose, with nothing of Darkroom imported and GCM by its streaming interface: a vector
printed by the code it is to check would only repeat that code's mistakes. Secrets, keys and nonces are made up.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM


def parts(*values: str | bytes) -> bytes:
    joined = b""
    for value in values:
        raw = value.encode("utf-8") if isinstance(value, str) else value
        joined += struct.pack(">I", len(raw)) + raw
    return joined


def keyed(secret: bytes, message: bytes, length: int) -> str:
    return base64.b32encode(hmac.new(secret, message, hashlib.sha256).digest()).decode("ascii").lower()[:length]


def encrypt(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated)
    sealed = encryptor.update(plain) + encryptor.finalize()
    return nonce + sealed + encryptor.tag


def record(name: str, uploader: str, day: str, image: bytes, metadata: dict, seed: int) -> dict:
    secret, key, nonce = bytes(range(32)), bytes([seed]) * 32, bytes([seed + 1]) * 12
    digest = hashlib.sha256(image)
    id_message = parts(uploader, digest.digest(), day)
    id = keyed(secret, id_message, 26)
    pseudonym_message = parts("uploader", uploader, day)
    pseudonym = keyed(secret, pseudonym_message, 16)
    key_name = f"{day}_{pseudonym}_{'abcdefghijkl2'}"
    fields = {**metadata, "sha256": digest.hexdigest(), "uploader": uploader}
    packed = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    associated = parts("1", id, day, key_name)
    place = parts("1", id, day, key_name, "images/processed_images", "label")
    field = (fields["label"] or "").encode("utf-8")
    return {
        "name": name,
        "platform_secret": secret.hex(),
        "uploader": uploader,
        "day": day,
        "image": image.hex(),
        "id_message": id_message.hex(),
        "id": id,
        "pseudonym_message": pseudonym_message.hex(),
        "pseudonym": pseudonym,
        "key_name": key_name,
        "key": key.hex(),
        "nonce": nonce.hex(),
        "metadata": fields,
        "metadata_bytes": packed.hex(),
        "associated_data": associated.hex(),
        "headers": [["v", "1"], ["id", id], ["day", day], ["key", key_name], ["via", "uploads"]],
        "value": encrypt(key, nonce, struct.pack(">I", len(packed)) + packed + image, associated).hex(),
        "field": {
            "table": "images/processed_images",
            "column": "label",
            "value": field.hex(),
            "associated_data": place.hex(),
            "nonce": nonce[::-1].hex(),
            "sealed": encrypt(key, nonce[::-1], field, place).hex(),
        },
    }


def main() -> None:
    plain = {
        "content_type": "image/png",
        "label": "7",
        "groups": ["photographers"],
        "filename": "seven.png",
        "uploaded_at": "2026-11-23T10:08:45.123456Z",
    }
    foreign = {
        "content_type": "image/jpeg",
        "label": 'Zoë\'s "Çay" \\ 茶 🍵\n',
        "groups": ["z", "a", "équipe"],
        "filename": None,
        "uploaded_at": "2024-02-29T23:59:59.000000Z",
    }
    bare = {
        "content_type": "application/octet-stream",
        "label": None,
        "groups": [],
        "filename": None,
        "uploaded_at": "2026-01-01T00:00:00.000000Z",
    }
    vectors = {
        "format": "Envelope version 1, as docs/envelope.md describes it. Bytes are in hex; day, id and names are text.",
        "records": [
            record("plain", "alice", "2026-11-23", b"\x89PNG\r\n\x1a\nnot quite an image", plain, 0x11),
            record("names beyond ASCII", "zoë@example.org", "2024-02-29", bytes(range(256)), foreign, 0x22),
            record("nobody's, empty", "", "2026-01-01", b"", bare, 0x33),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
