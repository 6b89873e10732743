"""The lake on S3 under a named KMS key, against a stand-in that enforces the key's state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from botocore.exceptions import ClientError

from access.aws_policies import bucket_policies
from resources.failures import is_permanent
from resources.lake import Lake
from resources.lake_check import LakeUnfit, check_lake
from resources.lake_failures import LakeDenied
from resources.object_storage import Credentials, Storage
from resources.settings import Settings
from resources.upkeep import maintain
from tests.aws_stand_in import REGION, Aws, aws
from tests.resources.test_lake import SMALL, numbers, stands


@pytest.fixture(scope="module")
def cloud() -> Iterator[Aws]:
    with aws() as stand_in:
        stand_in.bucket("the-lake")
        yield stand_in


def lake_under(cloud: Aws, key: str, name: str) -> Lake:
    root = f"s3://the-lake/{name}"
    return Lake(root, Storage(root, cloud.url, REGION, credentials=Credentials("stand-in", "x"), kms_key=key))


def keys_of(cloud: Aws, name: str) -> dict[str, str | None]:
    """Which key each object below a prefix is encrypted with."""
    s3 = cloud.client("s3")
    found = s3.list_objects_v2(Bucket="the-lake", Prefix=f"{name}/")["Contents"]
    heads = {one["Key"]: s3.head_object(Bucket="the-lake", Key=one["Key"]) for one in found}
    return {path: head.get("SSEKMSKeyId") for path, head in heads.items()}


def test_every_object_is_encrypted_with_the_named_key(cloud: Aws) -> None:
    """Data files, commits, checkpoints and what compaction writes."""
    arn = cloud.key()
    lake = lake_under(cloud, arn, "every")
    handle = lake.ensure(SMALL)
    for value in range(21):
        lake.append(handle, SMALL, numbers(value), {"a": value})
    maintain(lake, SMALL, keep_hours=0)
    assert stands(lake) == list(range(21))
    keys = keys_of(cloud, "every")
    assert {path.rpartition(".")[2] for path in keys} >= {"json", "parquet"}
    assert [path for path in keys if "checkpoint" in path]
    assert set(keys.values()) == {arn}


def test_with_its_key_off_nothing_is_written_or_read_and_on_again_nothing_is_torn(cloud: Aws) -> None:
    arn, kms = cloud.key(), cloud.client("kms")
    lake = lake_under(cloud, arn, "switched")
    handle = lake.ensure(SMALL)
    lake.append(handle, SMALL, numbers(1), {"a": 1})
    kms.disable_key(KeyId=arn)
    with pytest.raises(LakeDenied, match=r"KMS\.DisabledException.*owner may enable it") as caught:
        lake.append(handle, SMALL, numbers(2), {"a": 2})
    assert is_permanent(caught.value)
    with pytest.raises(LakeDenied, match=r"KMS\.DisabledException"):
        lake.open(SMALL.name)
    kms.enable_key(KeyId=arn)
    again = lake.open(SMALL.name)
    assert (lake.identifier(again, "a"), stands(lake)) == (1, [1])
    lake.append(again, SMALL, numbers(2), {"a": 2})
    assert pl.scan_delta(lake.open(SMALL.name)).collect().height == 2


def guarded(cloud: Aws, name: str) -> tuple[str, dict[str, Any]]:
    """A bucket with the policy that deploy/aws has for it, and a key; both of this test alone."""
    arn, said = cloud.key(), json.dumps(bucket_policies()["lake"])
    filled = {"lake_bucket": name, "lake_prefix": "lake", "lake_kms_key": arn}
    for placeholder, value in filled.items():
        said = said.replace(f"${{{placeholder}}}", value)
    cloud.guard(cloud.bucket(name), json.loads(said))
    return arn, json.loads(said)


def test_the_bucket_s_policy_refuses_an_upload_without_the_key_or_with_another(cloud: Aws) -> None:
    arn, said = guarded(cloud, "guarded-lake")
    assert "${" not in json.dumps(said)
    root = "s3://guarded-lake/lake"

    def lake(key: str) -> Lake:
        return Lake(root, Storage(root, cloud.url, REGION, credentials=Credentials("stand-in", "x"), kms_key=key))

    for wrong in ("", cloud.key()):
        with pytest.raises(LakeDenied, match=r"AccessDenied.*ask who owns the bucket") as caught:
            lake(wrong).ensure(SMALL)
        assert is_permanent(caught.value)
    right = lake(arn)
    right.append(right.ensure(SMALL), SMALL, numbers(1), {"a": 1})
    for wrong in ("", cloud.key()):
        with pytest.raises(LakeDenied, match="AccessDenied"):
            lake(wrong).append(lake(wrong).open(SMALL.name), SMALL, numbers(2), {"a": 2})
    assert stands(right) == [1]
    s3 = cloud.client("s3")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket="guarded-lake", Key="lake/by-hand", Body=b"x", ServerSideEncryption="AES256")


def test_the_check_says_which_key_and_refuses_another(cloud: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    arn = cloud.key()
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = stand-in\naws_secret_access_key = x\n")
    settings = Settings(
        lake="s3://the-lake/check", s3_endpoint=cloud.url, aws_region=REGION, s3_credentials=file, s3_kms_key=arn
    )
    assert check_lake(settings).kms_key == arn
    real = Storage.object_options

    def without_key(self: Storage) -> dict[str, object]:
        """A server that takes the option and does not act on it."""
        return real(replace(self, kms_key=""))

    monkeypatch.setattr(Storage, "object_options", without_key)
    with pytest.raises(LakeUnfit, match=r"no KMS key.*s3_kms_key"):
        check_lake(settings)
    cloud.client("kms").disable_key(KeyId=arn)
    monkeypatch.setattr(Storage, "object_options", real)
    with pytest.raises(LakeDenied, match=r"KMS\.DisabledException"):
        check_lake(settings)
