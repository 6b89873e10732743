"""Whoever may not open, seal or destroy is told so before a key is touched; the certificate says who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from access.policy import load_policy, parse_policy
from resources.key_life import KeyLife
from resources.key_rights import KeyForbidden, identity_of, rights_of
from resources.keys import KeyStore, open_key_store
from resources.settings import Settings, SettingsError, load_settings
from stack.ca import issue
from stack.paths import Layout

POLICY = load_policy()
DAY, WHO, ID = date(2026, 11, 30), "b" * 16, "c" * 26
DEEDS: dict[str, tuple[set[str], Callable[[KeyStore, str], object]]] = {
    "platform_secret": ({"OPEN", "SEAL"}, lambda store, name: store.platform_secret()),
    "current_key": ({"SEAL"}, lambda store, name: store.current_key(DAY, WHO)),
    "open_key": ({"OPEN"}, lambda store, name: store.open_key(name)),
    "first_key": ({"OPEN"}, lambda store, name: store.first_key(DAY, WHO)),
    "day_secret": ({"OPEN"}, lambda store, name: store.day_secret(DAY, "a test")),
    "day_secret, made": ({"SEAL"}, lambda store, name: store.day_secret(DAY, "a test", make=True)),
    "mark_erased": ({"DESTROY"}, lambda store, name: store.mark_erased(DAY, ID, "olga")),
    "destroy_key": ({"DESTROY"}, lambda store, name: store.destroy_key(name, "olga")),
    "destroy_day": ({"DESTROY"}, lambda store, name: store.destroy_day(DAY, "olga")),
}
"""What takes one of which rights; those that destroy come last."""


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Of a key in a store that somebody without a certificate has made."""
    store = open_key_store(Settings(home=tmp_path))
    store.initialise()
    return store.current_key(DAY, WHO).name


def known_as(home: Path, identity: str, **changes: object) -> Settings:
    return Settings(home=home, kafka_certificate=home / "tls" / f"{identity}.crt", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("identity", sorted(POLICY.identities))
def test_an_identity_does_what_the_policy_says_and_nothing_else(identity: str, name: str, tmp_path: Path) -> None:
    may = set(POLICY.identities[identity].keys)
    store = open_key_store(known_as(tmp_path, identity))
    trail = tmp_path / "logs" / "keys.log"
    before = trail.read_text()
    for deed, (wanted, do) in DEEDS.items():
        if may & wanted:
            do(store, name)
            continue
        with pytest.raises(KeyForbidden, match=f"{identity} may not .* by the policy") as refused:
            do(store, name)
        able = {one for one, rights in POLICY.identities.items() if set(rights.keys) & wanted}
        assert all(one in str(refused.value) for one in able), deed
    if not may & {"OPEN", "SEAL"}:
        assert trail.read_text() == before, "no key was opened"


@pytest.mark.parametrize("identity", ["dagster", "developing", "learning", "recogniser", "mlflow", "shop", "signin"])
def test_who_may_not_destroy_does_nothing_of_the_owners_and_leaves_no_word(
    identity: str, name: str, tmp_path: Path
) -> None:
    life = KeyLife(known_as(tmp_path, identity), identity, "a try")
    for deed in (
        lambda: life.hold(DAY),
        lambda: life.release(DAY),
        lambda: list(life.rotate()),
        life.disable,
        life.enable,
        lambda: life.destroy_day(DAY),
        life.clear_days,
        lambda: life.destroy_all(7),
    ):
        with pytest.raises(KeyForbidden, match="may not destroy, rotate or hold"):
            deed()
    assert not (tmp_path / "logs" / "audit.log").exists(), "refused before it is said to be done"
    assert open_key_store(Settings(home=tmp_path)).open_key(name)


def test_who_may_only_destroy_destroys_what_it_cannot_open(name: str, tmp_path: Path) -> None:
    life = KeyLife(known_as(tmp_path, "upkeep"), "retention", "over")
    with pytest.raises(KeyForbidden):
        open_key_store(known_as(tmp_path, "upkeep")).open_key(name)
    life.destroy_day(DAY)
    assert life.is_destroyed(DAY) and life.clear_days() == 2


def test_the_certificates_common_name_says_who_it_is_and_not_its_file(name: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for folder in (layout.secrets, layout.certificate("dagster").parent):
        folder.mkdir(exist_ok=True)
    issue(layout, ["dagster", "developing"], datetime.now(UTC))
    layout.certificate("dagster").rename(tmp_path / "developing.crt")
    stolen = Settings(home=tmp_path, kafka_certificate=tmp_path / "developing.crt")
    assert identity_of(stolen) == "dagster"
    with pytest.raises(KeyForbidden, match="dagster may not open"):
        open_key_store(stolen).open_key(name)
    renamed = tmp_path / "tls.crt"
    layout.certificate("developing").rename(renamed)
    opening = Settings(home=tmp_path, kafka_certificate=renamed)
    assert open_key_store(opening).open_key(name)
    last = json.loads((tmp_path / "logs" / "keys.log").read_text().splitlines()[-1])
    assert last["who"] == "developing", "on the trail, too"


def test_a_name_that_the_policy_does_not_know_may_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyForbidden, match=r"stranger may not open a key.*uploads"):
        open_key_store(known_as(tmp_path, "stranger")).open_key(name)


def test_where_nobody_may_the_sentence_says_so() -> None:
    policy = parse_policy("identities: {a: {note: x}}")
    with pytest.raises(KeyForbidden, match="which are none"):
        rights_of("a", certified=True, policy=policy).require("OPEN")


def test_a_run_acts_as_the_identity_that_the_settings_name(name: str, tmp_path: Path) -> None:
    given = {"learning": {"kafka_certificate": str(tmp_path / "learning.crt"), "postgres_dsn": "user=learning"}}
    settings = known_as(tmp_path, "dagster", identities=given, postgres_dsn="user=dagster")
    learning = settings.acting_as("learning")
    assert open_key_store(learning).open_key(name)
    assert learning.postgres_dsn == "user=learning" and learning.identities == {}
    assert settings.acting_as("upkeep") is settings, "not named: the process's own, which may not"
    with pytest.raises(KeyForbidden):
        open_key_store(settings.acting_as("upkeep")).destroy_day(DAY, "olga")


def test_settings_name_only_identities_that_runs_act_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ('{"admin": {}}', '{"upkeep": {"lake": "x"}}', "no json"):
        with pytest.raises(SettingsError, match="identities"):
            load_settings({"home": str(tmp_path), "identities": wrong})
    monkeypatch.setenv("DARKROOM_IDENTITIES", '{"upkeep": {"keys_profile": "purges"}}')
    assert load_settings({"home": str(tmp_path)}).acting_as("upkeep").keys_profile == "purges"
