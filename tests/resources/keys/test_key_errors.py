"""Errors of the key store reach logs that live for ever: they name the object, and nobody."""

from __future__ import annotations

from datetime import date

import pytest

from resources.key_objects import KeyUnavailable, nameless
from transforms.names import KeyName

DAY = date(2026, 11, 23)
WHO = "qwertyuiop234567"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"data/2026-11-23/{WHO}.current", "data/2026-11-23/*.current"),
        (f"data/2026-11-23/{WHO}-abcdefghijk23.json", "data/2026-11-23/*-abcdefghijk23.json"),
        (f"data/2026-11-23/{WHO}-abcdefghijk23.next", "data/2026-11-23/*-abcdefghijk23.next"),
        (f"Object at /x/{WHO}.current not found", "Object at /x/*.current not found"),
        ("platform-secret.json", "platform-secret.json"),
        ("days/2026-11-23.json", "days/2026-11-23.json"),
    ],
)
def test_a_pseudonym_is_starred_out_of_a_path_that_still_finds_the_object(path: str, shown: str):
    assert nameless(path) == shown


def test_neither_a_damaged_nor_an_unreadable_object_tells_whose_it_is(store, root):
    key = store.current_key(DAY, WHO)
    name = KeyName.parse(key.name)
    file = root / f"data/2026-11-23/{WHO}-{name.suffix}.json"
    store._cache.forget(lambda path: True)
    file.write_text("{")
    with pytest.raises(KeyUnavailable) as damaged:
        store.open_key(key.name)
    file.unlink()
    file.symlink_to(file)  # an endless link: an error of reading, for root too
    with pytest.raises(KeyUnavailable) as unreadable:
        store.open_key(key.name)
    for error in (damaged.value, unreadable.value):
        assert WHO not in f"{error} {error.facts}"
        assert name.suffix in str(error)
