"""Records as a door seals them, made ahead so that a measurement does not pay for it."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime

from resources.keys import open_key_store
from resources.settings import Settings
from transforms.envelope import NONCE_BYTES, Metadata, day_of, image_id, pseudonym, seal

Sealed = tuple[str, list[tuple[str, bytes]], bytes]
"""Id, headers, value."""


def sealed_records(settings: Settings, images: list[bytes], count: int) -> list[Sealed]:
    """`count` different images, made of these by bytes behind a picture's end, sealed for today under one key."""
    keys, now, uploader = open_key_store(settings), datetime.now(UTC), "bench"
    day, secret = day_of(now), keys.platform_secret()
    key = keys.current_key(day, pseudonym(secret, uploader, day))
    made = []
    for number in range(count):
        image = images[number % len(images)] + os.urandom(8)
        digest = hashlib.sha256(image)
        id = image_id(secret, uploader, digest.digest(), day)
        metadata = Metadata(digest.hexdigest(), "image/jpeg", None, uploader, (), None, now)
        headers, value = seal(metadata, image, id=id, day=day, key=key, via="bench", nonce=os.urandom(NONCE_BYTES))
        made.append((id, headers, value))
    return made
