"""Whether a lake's storage does what the lake rests on, tried with one small object: at a start, and not in the middle.

Tried are: making an object, making it again (which must be refused: a commit is a conditional put), reading, the KMS
key that it was encrypted with, and removing it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.failures import PermanentFailure
from resources.lake_failures import named
from resources.object_storage import S3_SCHEMES, storage_of

if TYPE_CHECKING:
    from resources.object_storage import Storage
    from resources.settings import Settings


class LakeUnfit(PermanentFailure):
    """The storage answers, and does not hold to what commits rest on."""


@dataclass(frozen=True)
class Checked:
    """What was found: the root, and the KMS key that objects are encrypted with (None: none, or not said)."""

    root: str
    kms_key: str | None


def check_lake(settings: Settings) -> Checked:
    """Try the storage of these settings.

    Raises:
        StorageRefused: the settings cannot be.
        LakeDenied, LakeUnavailable, LakeFull: the storage refuses, or is away; says what to do.
        LakeUnfit: it takes a second object of one name, or encrypts with another key than the named one.
    """
    from obstore.exceptions import AlreadyExistsError
    from obstore.store import LocalStore, from_url

    storage = storage_of(settings)
    name = f"_darkroom_check/{uuid.uuid4().hex}"
    with named(storage.root, "make, read and remove a small object"):
        if storage.remote:
            store = from_url(storage.root, **storage.object_options())
        else:
            store = LocalStore(storage.root, mkdir=True)
        store.put(name, b"darkroom", mode="create")
        try:
            try:
                store.put(name, b"another", mode="create")
            except (AlreadyExistsError, FileExistsError):
                pass
            else:
                raise LakeUnfit(
                    f"The storage at {storage.root} took a second object of one name where only the first may win: two "
                    "writers could lose each other's commits there. Use one with conditional puts (If-None-Match).",
                    {"root": storage.root},
                )
            bytes(store.get(name).bytes())
            return Checked(storage.root, _kms_key(storage, name))
        finally:
            store.delete(name)


def _kms_key(storage: Storage, name: str) -> str | None:
    if storage.scheme not in S3_SCHEMES:
        return None
    parts = urlsplit(storage.root)
    found = storage.client().head_object(Bucket=parts.netloc, Key=f"{parts.path.strip('/')}/{name}".lstrip("/"))
    key = found.get("SSEKMSKeyId")
    if storage.kms_key and (key is None or not key.endswith(storage.kms_key.rpartition("/")[2])):
        raise LakeUnfit(
            f"The storage at {storage.root} encrypted an object with {key or 'no KMS key'}, and s3_kms_key is "
            f"{storage.kms_key}. Does that server know SSE-KMS, and is it the key's ARN?",
            {"root": storage.root},
        )
    return key
