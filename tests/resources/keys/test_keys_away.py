"""A key store that is away, unreadable or damaged says so: read as "no such key" it would darken good images."""

import os
from datetime import date

import pytest

from resources.key_objects import KeyUnavailable
from transforms.envelope import KeyName

DAY = date(2026, 11, 23)
ALICE = "a" * 16
BOB = "b" * 16
AGE = 30.0
ID = "i" * 26

CALLS = {
    "platform_secret": lambda store, name: store.platform_secret(),
    "current_key": lambda store, name: store.current_key(DAY, ALICE),
    "a new key": lambda store, name: store.current_key(DAY, "n" * 16),
    "first_key": lambda store, name: store.first_key(DAY, ALICE),
    "open_key": lambda store, name: store.open_key(name),
    "open_key of an unknown one": lambda store, name: store.open_key(str(KeyName(DAY, ALICE, "z" * 13))),
    "destroy_key": lambda store, name: store.destroy_key(name, "dora"),
    "destroy_day": lambda store, name: store.destroy_day(DAY, "dora"),
    "erased_ids": lambda store, name: store.erased_ids(DAY),
    "mark_erased": lambda store, name: store.mark_erased(DAY, ID, "dora"),
    "key_names": lambda store, name: store.key_names(DAY, ALICE),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("opened_before", [True, False])
def test_a_store_that_is_away_is_unavailable_and_is_not_made_anew(call, opened_before, store, another, root, clock):
    """An unmounted folder once read as "no such key" would quarantine a whole day for good."""
    name = store.current_key(DAY, ALICE).name
    store.platform_secret()
    view = store if opened_before else another()
    clock.seconds += AGE
    root.rename(root.with_name("away"))
    with pytest.raises(KeyUnavailable, match="keys"):
        CALLS[call](view, name)
    assert not root.exists()
    root.with_name("away").rename(root)
    CALLS["open_key"](view, name)


def test_an_empty_folder_in_the_stores_place_is_unavailable_too(store, another, root):
    """What an unmounted volume leaves behind: its empty mount point."""
    name = store.current_key(DAY, ALICE).name
    root.rename(root.with_name("away"))
    root.mkdir()
    for call in CALLS.values():
        with pytest.raises(KeyUnavailable):
            call(another(), name)
    assert list(root.iterdir()) == []


def test_a_store_that_may_not_be_read_is_unavailable(store, another, root, tmp_path):
    name = store.current_key(DAY, ALICE).name
    was = os.geteuid()
    root.chmod(0o000)
    try:
        if was == 0:  # root reads everything: be nobody for a moment
            os.seteuid(65534)
        for call in CALLS.values():
            with pytest.raises(KeyUnavailable):
                call(another(), name)
    finally:
        os.seteuid(was)
        root.chmod(0o700)
    assert another().open_key(name).name == name


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind": "data"}', b'{"wrapped": 5}', b'{"destroyed_at": 5}'])
def test_a_damaged_object_is_unavailable_and_named(content, store, another, root):
    key = store.current_key(DAY, ALICE)
    path = next(path for path in root.rglob("*.json") if path.name.startswith(f"{ALICE}-"))
    path.write_bytes(content)
    with pytest.raises(KeyUnavailable, match=path.name.partition("-")[2]):
        another().open_key(key.name)


def test_a_wrapped_key_put_under_another_name_does_not_unwrap(store, another, root):
    alice, bob = store.current_key(DAY, ALICE), store.current_key(DAY, BOB)
    (root / f"data/{DAY}/{ALICE}-{alice.name[-13:]}.json").write_bytes(
        (root / f"data/{DAY}/{BOB}-{bob.name[-13:]}.json").read_bytes()
    )
    with pytest.raises(KeyUnavailable, match="does not unwrap"):
        another().open_key(alice.name)


def test_a_days_key_that_is_gone_without_a_tombstone_is_damage_and_not_an_erasure(store, another, root):
    key = store.current_key(DAY, ALICE)
    (root / f"days/{DAY}.json").unlink()
    with pytest.raises(KeyUnavailable, match="gone"):
        another().open_key(key.name)


def test_a_lost_customer_managed_key_is_said_and_not_replaced(store, another, root):
    name = store.current_key(DAY, ALICE).name
    (root / "cmk.json").unlink()
    another().initialise()
    assert not (root / "cmk.json").exists()
    for call in ("open_key", "platform_secret", "current_key"):
        with pytest.raises(KeyUnavailable, match="customer-managed key"):
            CALLS[call](another(), name)


def test_a_store_that_lost_its_secret_alone_is_given_no_new_one(store, another, root):
    """With another secret a resend would be another image, and nobody would be told the state of theirs."""
    store.current_key(DAY, ALICE)
    mark = root / "platform-secret.json"
    kept = mark.read_bytes()
    mark.unlink()
    with pytest.raises(KeyUnavailable, match="Put it back"):
        another().initialise()
    assert not mark.exists()
    mark.write_bytes(kept)
    another().initialise()
    assert another().platform_secret() == store.platform_secret()
