"""The cache's age is the revocation delay: not a second longer, and nothing at all where the key was destroyed."""

from datetime import date

import pytest

from resources.key_objects import KeyDestroyed, KeyUnavailable

DAY = date(2026, 11, 23)
ALICE = "a" * 16
BOB = "b" * 16
AGE = 30.0


def test_a_key_destroyed_elsewhere_opens_until_the_cache_ages_out_and_not_a_second_longer(store, another, clock):
    elsewhere = another()
    key = elsewhere.current_key(DAY, ALICE)
    elsewhere.open_key(key.name)
    store.destroy_key(key.name, "dora")
    clock.seconds += AGE - 1
    assert elsewhere.open_key(key.name) == key
    clock.seconds += 1
    with pytest.raises(KeyDestroyed):
        elsewhere.open_key(key.name)
    assert elsewhere.current_key(DAY, ALICE).name != key.name


def test_a_key_read_late_is_no_younger_than_the_day_it_was_opened_with(store, another, clock):
    """Ages must not add up: else a destroyed day would open for twice the stated delay."""
    alice, bob = store.current_key(DAY, ALICE), store.current_key(DAY, BOB)
    elsewhere = another()
    elsewhere.open_key(alice.name)
    clock.seconds += AGE - 1
    elsewhere.open_key(bob.name)
    store.destroy_day(DAY, "retention")
    clock.seconds += 1
    for name in (alice.name, bob.name):
        with pytest.raises(KeyDestroyed):
            elsewhere.open_key(name)


def test_a_disabled_customer_managed_key_stops_everything_within_the_cache_age_and_enabling_it_undoes_that(
    store, clock, cmk
):
    key, secret = store.current_key(DAY, ALICE), store.platform_secret()
    cmk.set_state("disabled")
    assert store.open_key(key.name) == key
    clock.seconds += AGE
    for attempt in (
        lambda: store.open_key(key.name),
        lambda: store.current_key(DAY, ALICE),
        lambda: store.current_key(DAY, BOB),
        store.platform_secret,
    ):
        with pytest.raises(KeyUnavailable, match="is disabled"):
            attempt()
    cmk.set_state("enabled")
    assert (store.open_key(key.name), store.platform_secret()) == (key, secret)


def test_a_key_read_just_before_it_was_destroyed_here_is_not_remembered(store, another, clock, monkeypatch):
    key = another().current_key(DAY, ALICE)
    read = store._records.data_key

    def slow(*arguments):
        found = read(*arguments)
        clock.seconds += 1
        store.destroy_key(key.name, "dora")  # as another thread does, between the reading and the remembering
        return found

    monkeypatch.setattr(store._records, "data_key", slow)
    assert store.open_key(key.name) == key
    monkeypatch.setattr(store._records, "data_key", read)
    with pytest.raises(KeyDestroyed):
        store.open_key(key.name)


def test_a_cache_age_of_nothing_believes_nothing(another, store):
    careful = another(age=0.0)
    key = careful.current_key(DAY, ALICE)
    assert careful.open_key(key.name) == key
    store.destroy_key(key.name, "dora")
    with pytest.raises(KeyDestroyed):
        careful.open_key(key.name)


def test_an_opened_key_is_not_read_again_while_it_is_young(store, root):
    key = store.current_key(DAY, ALICE)
    root.rename(root.with_name("away"))
    assert store.open_key(key.name) is key
    assert store.current_key(DAY, ALICE) is key
