"""The customer-managed key in AWS KMS, over the real protocol, against a stand-in that enforces the states of keys; and
one contract for every provider."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from botocore.client import BaseClient

from resources.key_life import KeyLife
from resources.key_objects import DayDestroyed, KeyObjects, KeyUnavailable
from resources.key_provider import CMK, KeyProvider, LocalKeyProvider
from resources.keys import KeyStore, open_key_store
from resources.kms import KmsKeyProvider
from resources.settings import Settings, SettingsError, load_settings
from tests.aws_stand_in import OTHER_REGION, REGION, Aws, aws
from transforms.names import KeyName

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY, WHO = date(2026, 11, 23), "b" * 16
MATERIAL = bytes(range(32))


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    """Some, for the usual chain to find: nobody checks them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", "stand-in")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patched.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    with aws() as stand_in:
        yield stand_in


@dataclass
class Owned:
    """A provider, and what the owner of its key can do."""

    provider: KeyProvider
    disable: Callable[[], object]
    enable: Callable[[], object]
    lose: Callable[[], object]
    objects: KeyObjects


def put(file: Path, state: str) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": state}))


@pytest.fixture(params=["local", "aws-kms"])
def owned(request: pytest.FixtureRequest, tmp_path: Path, cloud: Aws) -> Owned:
    objects = KeyObjects(str(tmp_path / "keys"))
    objects.prepare()
    if request.param == "local":
        local = LocalKeyProvider(objects, lambda: NOW)
        local.make()
        file = tmp_path / "keys" / CMK
        return Owned(local, lambda: put(file, "disabled"), lambda: put(file, "enabled"), file.unlink, objects)
    arn, kms = cloud.key(), cloud.client("kms")
    provider = KmsKeyProvider(arn, REGION, cloud.url)
    provider.make()
    return Owned(
        provider,
        lambda: kms.disable_key(KeyId=arn),
        lambda: kms.enable_key(KeyId=arn),
        lambda: kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7),
        objects,
    )


def test_what_was_wrapped_unwraps_for_its_kind_and_name_alone(owned: Owned) -> None:
    wrapped = owned.provider.wrap(MATERIAL, "day", "2026-11-23")
    assert MATERIAL not in str(wrapped).encode()
    assert owned.provider.unwrap(wrapped, "day", "2026-11-23") == MATERIAL
    assert owned.provider.unwrap(wrapped, "day", "2026-11-24") is None
    assert owned.provider.unwrap(wrapped, "platform-secret", "2026-11-23") is None


@pytest.mark.parametrize("wrapped", [None, "", "no base64 !", "AAAA", "QUJD" * 40])
def test_a_damaged_document_does_not_unwrap(owned: Owned, wrapped: str | None) -> None:
    document = owned.provider.wrap(MATERIAL, "day", "x") | {"wrapped": wrapped}
    assert owned.provider.unwrap(document, "day", "x") is None


def test_switched_off_nothing_is_wrapped_or_unwrapped_and_on_again_everything(owned: Owned) -> None:
    wrapped = owned.provider.wrap(MATERIAL, "day", "x")
    owned.disable()
    with pytest.raises(KeyUnavailable, match=r"(?i)disabled"):
        owned.provider.wrap(MATERIAL, "day", "x")
    with pytest.raises(KeyUnavailable, match=r"(?i)disabled"):
        owned.provider.unwrap(wrapped, "day", "x")
    owned.enable()
    assert owned.provider.unwrap(wrapped, "day", "x") == MATERIAL


def test_a_key_that_is_gone_opens_nothing_and_says_so(owned: Owned) -> None:
    wrapped = owned.provider.wrap(MATERIAL, "day", "x")
    owned.lose()
    with pytest.raises(KeyUnavailable, match=r"gone|KMSInvalidStateException"):
        owned.provider.unwrap(wrapped, "day", "x")


def test_the_whole_store_hangs_on_it_and_the_cache_s_age_is_the_delay(owned: Owned) -> None:
    seconds = 1000.0
    store = KeyStore(owned.objects, owned.provider, 30, now=lambda: NOW, timer=lambda: seconds)
    store.initialise()
    key = store.current_key(DAY, WHO)
    other = KeyStore(owned.objects, owned.provider, 30, now=lambda: NOW, timer=lambda: seconds)
    assert (other.open_key(key.name).material, other.platform_secret()) == (key.material, store.platform_secret())
    owned.disable()
    assert other.open_key(key.name).material == key.material
    seconds += 31
    with pytest.raises(KeyUnavailable):
        other.open_key(key.name)
    owned.enable()
    assert other.open_key(key.name).material == key.material
    store.destroy_day(DAY, "the owner")
    with pytest.raises(DayDestroyed):
        store.current_key(DAY, WHO)


def test_a_replica_in_another_region_opens_what_the_primary_wrapped(cloud: Aws) -> None:
    arn = cloud.key(multi_region=True)
    cloud.client("kms").replicate_key(KeyId=arn.rpartition("/")[2], ReplicaRegion=OTHER_REGION)
    wrapped = KmsKeyProvider(arn, REGION, cloud.url).wrap(MATERIAL, "day", "x")
    assert wrapped["wrapped_by"].startswith("mrk-")
    there = KmsKeyProvider(arn.replace(REGION, OTHER_REGION), OTHER_REGION, cloud.url)
    assert there.unwrap(wrapped, "day", "x") == MATERIAL


def test_its_owner_switches_it_off_and_on_and_has_it_deleted_by_command(cloud: Aws) -> None:
    provider = KmsKeyProvider(cloud.key(), REGION, cloud.url)
    wrapped = provider.wrap(MATERIAL, "day", "x")
    for away in (lambda: provider.set_state("disabled"), lambda: provider.schedule_deletion(7, "olga")):
        away()
        with pytest.raises(KeyUnavailable):
            provider.unwrap(wrapped, "day", "x")
        provider.set_state("enabled")
        assert provider.unwrap(wrapped, "day", "x") == MATERIAL
    pending = provider.schedule_deletion(30, "olga")
    assert pending.state == provider.describe().state == "pending deletion"
    assert pending.until is not None and 29 <= (pending.until - datetime.now(UTC)).days <= 30
    with pytest.raises(KeyUnavailable, match=r"Only imported material can be deleted at once: ask for 7 to 30 days"):
        provider.schedule_deletion(0, "olga")


def test_what_an_older_key_wrapped_is_wrapped_anew_under_the_configured_one(cloud: Aws, tmp_path: Path) -> None:
    former, new = cloud.key(), cloud.key()

    def settings(key: str) -> Settings:
        given = {"home": tmp_path, "keys_provider": "aws-kms", "keys_kms_key": key, "kms_endpoint": cloud.url}
        return Settings(**given, aws_region=REGION, key_cache_seconds=0)

    (tmp_path / "logs").mkdir()
    before = open_key_store(settings(former))
    before.initialise()
    key, secret = before.current_key(DAY, WHO), before.platform_secret()
    after = open_key_store(settings(new))
    with pytest.raises(KeyUnavailable, match="IncorrectKeyException"):
        after.open_key(key.name)
    life = KeyLife(settings(new), "olga", "moved", older=(former,), wait=lambda _: None)
    assert list(life.rotate()) == ["platform-secret", DAY.isoformat()]
    cloud.client("kms").schedule_key_deletion(KeyId=former, PendingWindowInDays=7)
    assert after.open_key(key.name) == key
    assert after.platform_secret() == secret


def test_what_another_key_wrapped_names_both(cloud: Aws) -> None:
    one, other = cloud.key(), cloud.key()
    wrapped = KmsKeyProvider(one, REGION, cloud.url).wrap(MATERIAL, "day", "x")
    with pytest.raises(KeyUnavailable, match="IncorrectKeyException") as caught:
        KmsKeyProvider(other, REGION, cloud.url).unwrap(wrapped, "day", "x")
    assert one.rpartition("/")[2] in str(caught.value) and other in str(caught.value)


def test_an_alias_names_a_key_and_grants_are_for_this_platform_s_keys_alone(cloud: Aws) -> None:
    arn = cloud.key()
    cloud.client("kms").create_alias(AliasName="alias/darkroom", TargetKeyId=arn)
    provider = KmsKeyProvider("alias/darkroom", REGION, cloud.url)
    provider.make()
    assert provider.unwrap(provider.wrap(MATERIAL, "day", "x"), "day", "x") == MATERIAL
    grant = provider.grant("arn:aws:iam::123456789012:role/executors", kind="day")
    (found,) = provider.grants()
    assert (found["GrantId"], found["Operations"]) == (grant, ["Decrypt"])
    assert found["Constraints"]["EncryptionContextSubset"] == {"platform": "darkroom key 1", "kind": "day"}
    provider.revoke(grant)
    assert provider.grants() == []


def test_a_key_that_cannot_be_used_is_refused_at_the_start(cloud: Aws) -> None:
    kms, arn = cloud.client("kms"), cloud.key()
    kms.disable_key(KeyId=arn)
    with pytest.raises(KeyUnavailable, match=r"Disabled.*owner may enable"):
        KmsKeyProvider(arn, REGION, cloud.url).make()
    with pytest.raises(KeyUnavailable, match=r"SIGN_VERIFY.*symmetric"):
        KmsKeyProvider(cloud.key(usage="SIGN_VERIFY"), REGION, cloud.url).make()
    with pytest.raises(KeyUnavailable, match=r"NotFoundException.*aws_region"):
        KmsKeyProvider(cloud.key().replace(REGION, OTHER_REGION), OTHER_REGION, cloud.url).make()
    denied = cloud.key()
    cloud.deny(denied, "kms:Decrypt")
    provider = KmsKeyProvider(denied, REGION, cloud.url)
    with pytest.raises(KeyUnavailable, match=r"AccessDeniedException.*give it a grant"):
        provider.unwrap(provider.wrap(MATERIAL, "day", "x"), "day", "x")


def test_throttling_is_tried_again_and_a_kms_that_is_away_is_said(cloud: Aws) -> None:
    provider = KmsKeyProvider(cloud.key(), REGION, cloud.url)
    cloud.faults += ["ThrottlingException", "ThrottlingException"]
    assert provider.unwrap(provider.wrap(MATERIAL, "day", "x"), "day", "x") == MATERIAL
    assert cloud.faults == []
    with pytest.raises(KeyUnavailable, match=r"KMS cannot be asked.*127.0.0.1:9.*aws_region"):
        KmsKeyProvider("alias/x", REGION, "http://127.0.0.1:9").make()


def test_without_credentials_it_is_said_whose_are_missing(cloud: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(KeyUnavailable, match=r"(?i)credentials.*role"):
        KmsKeyProvider("alias/x", REGION, cloud.url).make()


def test_the_settings_name_provider_and_key(cloud: Aws, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="keys_kms_key names no key"):
        load_settings({"home": tmp_path, "keys_provider": "aws-kms"})
    arn = cloud.key()
    settings = Settings(
        home=tmp_path, keys_provider="aws-kms", keys_kms_key=arn, kms_endpoint=cloud.url, aws_region=REGION
    )
    store = open_key_store(settings)
    store.initialise()
    assert store.open_key(store.current_key(DAY, WHO).name).material
    assert not (tmp_path / "keys" / CMK).exists(), "no key of our own beside it"


def test_kms_is_asked_once_for_each_day_at_hand_however_many_uploaders_and_images_there_are(
    cloud: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls for the platform secret, two for each day that is made; of who only opens, one for each."""
    calls: Counter[str] = Counter()
    plain = BaseClient._make_api_call

    def counted(client: BaseClient, operation: str, given: dict[str, object]) -> object:
        calls[operation] += 1
        return plain(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    provider, objects = KmsKeyProvider(cloud.key(), REGION, cloud.url), KeyObjects(str(tmp_path / "keys"))
    seconds = 1000.0
    writer = KeyStore(objects, provider, 30, now=lambda: NOW, timer=lambda: seconds)
    writer.initialise()
    calls.clear()
    days = [DAY - timedelta(days=number) for number in range(3)]
    uploaders = [f"{number:016x}".translate(str.maketrans("0189", "ghij")) for number in range(40)]
    keys = [writer.current_key(day, uploader) for day in days for uploader in uploaders]
    assert calls == {"Encrypt": 3, "Decrypt": 3}
    calls.clear()
    reader = KeyStore(objects, provider, 30, now=lambda: NOW, timer=lambda: seconds)
    for _ in range(3):
        assert [reader.open_key(key.name).material for key in keys] == [key.material for key in keys]
        assert [reader.current_key(KeyName.parse(key.name).day, uploaders[0]) for key in keys]
    assert calls == {"Decrypt": 3}
    calls.clear()
    seconds += 31
    assert [reader.open_key(key.name).material for key in keys] == [key.material for key in keys]
    assert calls == {"Decrypt": 3}, "the delay of a revocation is the age of what is believed"
