"""The IAM policies that the policy compiles to, where they hold: each role reaches keys as its identity may, and a
stolen login of one that may not has sealed bytes and no key, whatever code it runs.

The key store is in a bucket and the customer-managed key in KMS, both of a stand-in that enforces the roles' policies.
The rights that the platform itself looks at are left out: a thief has no reason to ask them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from string import Template

import pytest

from access.aws_policies import iam_policies
from access.policy import load_policy
from resources.key_life import KeyLife
from resources.key_objects import KeyDestroyed, KeyUnavailable
from resources.keys import open_key_store
from resources.object_storage import StorageRefused
from resources.settings import Settings
from tests.aws_stand_in import REGION, Aws, aws

POLICY = load_policy()
ROLES = iam_policies(POLICY)
NONE = {"Version": "2012-10-17", "Statement": []}
"""Of an identity without any right on AWS."""
DAY, WHO = date(2026, 11, 30), "b" * 16


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    file = tmp_path_factory.mktemp("aws") / "config"
    with aws() as stand_in, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_CONFIG_FILE", str(file))
        patched.setenv("AWS_ACCESS_KEY_ID", "owner")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "x")
        patched.delenv("AWS_PROFILE", raising=False)
        stand_in.bucket("keys")
        names = {"lake_bucket": "lake", "lake_prefix": "lake", "lake_kms_key": stand_in.key()}
        names |= {"keys_bucket": "keys", "keys_prefix": "store", "keys_kms_key": stand_in.key()}
        stand_in.key_of_keys = names["keys_kms_key"]  # type: ignore[attr-defined]
        for one in POLICY.identities:
            policy = Template(json.dumps(ROLES.get(one, NONE))).substitute(names)
            stand_in.role(one, json.loads(policy), file)
        yield stand_in


@pytest.fixture
def settings(cloud: Aws, tmp_path: Path) -> Settings:
    made = Settings(
        home=tmp_path,
        keys=f"s3://keys/store/{tmp_path.name}",
        keys_provider="aws-kms",
        keys_kms_key=cloud.key_of_keys,  # type: ignore[attr-defined]
        kms_endpoint=cloud.url,
        s3_endpoint=cloud.url,
        aws_region=REGION,
        key_cache_seconds=0,
    )
    open_key_store(made).initialise()
    return made


@pytest.mark.parametrize("identity", sorted(POLICY.identities))
def test_a_role_reaches_keys_as_its_identity_may(identity: str, settings: Settings) -> None:
    name = open_key_store(settings).current_key(DAY, WHO).name
    mine = settings.model_copy(update={"keys_profile": identity})
    may = set(POLICY.identities[identity].keys)
    if "OPEN" in may:
        assert open_key_store(mine).open_key(name).name == name
    else:
        with pytest.raises(KeyUnavailable, match=r"AccessDenied|may not|403|Forbidden"):
            open_key_store(mine).open_key(name)
    if "SEAL" in may:
        assert open_key_store(mine).current_key(date(2026, 12, 1), WHO)
    else:
        with pytest.raises(KeyUnavailable):
            open_key_store(mine).current_key(date(2026, 12, 1), WHO)
    if "DESTROY" in may:
        KeyLife(mine, "retention", "over").destroy_day(DAY)
        with pytest.raises(KeyDestroyed):
            open_key_store(settings).open_key(name)
    elif "SEAL" not in may:
        # Who seals may write objects, and so could write over a record: docs/security.md says so.
        with pytest.raises(KeyUnavailable):
            KeyLife(mine, "retention", "over").destroy_day(DAY)
        assert open_key_store(settings).open_key(name).name == name


def test_the_purges_role_destroys_what_it_cannot_open(settings: Settings) -> None:
    name = open_key_store(settings).current_key(DAY, WHO).name
    purge = settings.model_copy(update={"keys_profile": "upkeep"})
    with pytest.raises(KeyUnavailable, match="AccessDenied"):
        open_key_store(purge).open_key(name)
    life = KeyLife(purge, "retention", "over")
    life.destroy_day(DAY)
    assert life.clear_days() == 2


def test_a_profile_that_is_not_there_is_named(settings: Settings) -> None:
    wrong = settings.model_copy(update={"keys_profile": "nobody"})
    with pytest.raises(StorageRefused, match=r"no profile 'nobody'.*there are .*dagster"):
        open_key_store(wrong)
    beside = wrong.model_copy(update={"keys": str(settings.home / "keys")})
    with pytest.raises(KeyUnavailable, match="nobody"):
        open_key_store(beside).initialise()
