"""In a bucket that keeps versions: of a destroyed key and of a purged file there is none left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from resources import kafka
from resources.key_life import KeyLife
from resources.key_objects import KeyDestroyed, KeyUnavailable
from resources.keys import open_key_store
from resources.settings import Settings
from tests.aws_stand_in import REGION, Aws, aws
from tests.resources.upkeep.test_purging import NEXT, OLD, Broker, Stage
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES

DAY, WHO = date(2026, 11, 23), "b" * 16


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    with aws() as stand_in:
        yield stand_in


def bucket(cloud: Aws, name: str, versioned: bool = True) -> Any:
    cloud.bucket(name)
    client = cloud.client("s3")
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return client


def credentials(folder: Path) -> Path:
    file = folder / "credentials"
    file.write_text("[default]\naws_access_key_id = stand-in\naws_secret_access_key = x\n")
    return file


def settings_of(cloud: Aws, folder: Path, **places: str) -> Settings:
    remote = {"s3_endpoint": cloud.url, "aws_region": REGION, "s3_credentials": credentials(folder)}
    return Settings(home=folder, key_cache_seconds=0, **remote, **places)  # type: ignore[arg-type]


def versions(client: Any, name: str, prefix: str = "") -> list[dict[str, Any]]:
    """Every version and marker, each with what it holds."""
    found = client.list_object_versions(Bucket=name, Prefix=prefix)
    held = []
    for one in found.get("Versions", []):
        body = client.get_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
        held.append({**one, "body": body})
    return held + found.get("DeleteMarkers", [])


@pytest.mark.parametrize("versioned", [True, False])
def test_a_destroyed_key_leaves_no_version_that_unwraps(cloud: Aws, tmp_path: Path, versioned: bool) -> None:
    name = f"keys-{versioned}".lower()
    client = bucket(cloud, name, versioned)
    settings = settings_of(cloud, tmp_path, keys=f"s3://{name}/keys")
    store = open_key_store(settings)
    store.initialise()
    one, other = store.current_key(DAY, WHO), store.current_key(DAY, "c" * 16)
    assert b"wrapped" in versions(client, name, f"keys/data/{DAY}/{WHO}")[0]["body"]
    store.destroy_key(one.name, "the owner")
    left = versions(client, name, f"keys/data/{DAY}/{WHO}-{one.name.rpartition('_')[2]}.json")
    assert [b"destroyed_at" in version["body"] for version in left] == [True]
    assert store.open_key(other.name) == other
    store.destroy_day(DAY, "the owner")
    left = versions(client, name, f"keys/days/{DAY}")
    assert [b"destroyed_at" in version["body"] for version in left] == [True]
    with pytest.raises(KeyDestroyed):
        store.open_key(other.name)
    assert KeyLife(settings, "retention", "over").clear_days() == 4
    assert versions(client, name, "keys/data/") == []


def test_a_key_that_was_destroyed_before_its_versions_went_loses_them_by_destroying_it_again(
    cloud: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bucket(cloud, "keys-again")
    store = open_key_store(settings_of(cloud, tmp_path, keys="s3://keys-again/keys"))
    store.initialise()
    store.current_key(DAY, WHO)

    def denied(self: object, prefix: str) -> int:
        raise PermissionError("AccessDenied: s3:ListBucketVersions")

    with monkeypatch.context() as refused:
        refused.setattr("resources.object_storage.Storage.forget_versions", denied)
        with pytest.raises(KeyUnavailable, match=r"could not delete older versions of .*AccessDenied"):
            store.destroy_day(DAY, "the owner")
    assert len(versions(client, "keys-again", "keys/days/")) == 2, "the tombstone, and the key that it was put over"
    store.destroy_day(DAY, "the owner")
    (left,) = versions(client, "keys-again", "keys/days/")
    assert b"destroyed_at" in left["body"]


def test_a_rotation_leaves_no_version_of_what_the_former_key_wrapped(cloud: Aws, tmp_path: Path) -> None:
    client = bucket(cloud, "keys-rotated")
    settings = settings_of(cloud, tmp_path, keys="s3://keys-rotated/keys")
    store = open_key_store(settings)
    store.initialise()
    key = store.current_key(DAY, WHO)
    life = KeyLife(settings, "the owner", "yearly", wait=lambda seconds: None)
    former = life.customer().id
    assert DAY.isoformat() in list(life.rotate())
    left = versions(client, "keys-rotated")
    assert all(one["IsLatest"] for one in left)
    assert not [one["Key"] for one in left if former.encode() in one["body"]]
    assert open_key_store(settings).open_key(key.name) == key


class Remote(Stage):
    """A stage whose tables, two of them, lie in a bucket that keeps versions."""

    tables = (RAW_IMAGES, PROCESSED_IMAGES)

    def __init__(self, home: Path, cloud: Aws) -> None:
        self._cloud = cloud
        super().__init__(home)

    def settings_of(self, home: Path) -> Settings:
        return settings_of(self._cloud, home, lake="s3://lake-with-versions/lake")

    def files(self, spec: Any, day: object) -> list[Path]:
        return []


def test_a_purged_day_leaves_no_version_of_its_files_and_the_next_day_all_of_its_own(
    cloud: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "deleted", {})
    monkeypatch.setattr(kafka, "Admin", Broker)
    client = bucket(cloud, "lake-with-versions")
    stage = Remote(tmp_path, cloud)

    def of(day: date) -> set[str]:
        found = [one for spec in stage.tables for one in versions(client, "lake-with-versions", f"lake/{spec.name}/")]
        return {one["Key"] for one in found if f"/day={day}/" in one["Key"]}

    assert len(of(OLD)) == len(of(NEXT)) == len(stage.tables)
    before = of(NEXT)
    stage.purge().run()
    stage.expect_gone()
    assert of(OLD) == set()
    assert of(NEXT) == before
