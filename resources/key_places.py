"""Where the settings say that the key store's objects are, and who holds the customer-managed key. Nothing is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from resources.key_objects import KeyObjects
from resources.key_provider import CustomerKey, LocalKeyProvider
from resources.object_storage import S3_SCHEMES, Storage, storage_of
from resources.settings import Settings


def key_objects(settings: Settings) -> KeyObjects:
    """The objects of the key store that the settings name; nothing is read yet."""
    storage = replace(storage_of(settings, settings.keys_root), profile=settings.keys_profile)
    forget = _forgetting(storage) if storage.scheme in S3_SCHEMES else None
    return KeyObjects(settings.keys_root, storage.object_options() if storage.remote else None, forget)


def _forgetting(storage: Storage) -> Callable[[str], object]:
    """What deletes older versions in a bucket; it asks once whether there are any."""
    versioned = functools.cache(storage.versioned)
    return lambda prefix: storage.forget_versions(prefix) if versioned() else None


def customer_key(
    settings: Settings, objects: KeyObjects, now: Callable[[], datetime], older: tuple[str, ...] = ()
) -> CustomerKey:
    """The customer-managed key that the settings name; `older` ones of KMS unwrap still. Nothing is asked yet."""
    if settings.keys_provider == "local":
        return LocalKeyProvider(objects, now)
    from resources.kms import kms_provider

    return kms_provider(settings, older)
