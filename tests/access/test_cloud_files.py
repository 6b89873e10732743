"""The policy as files for clouds: each right and no other, and the committed files are what it compiles to."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template

import jsonschema
import pytest
import yaml

from access.aws_policies import bucket_policies, iam_policies
from access.cloud_files import cloud_files, policy_schema
from access.confluent_rights import confluent_acls, confluent_role_bindings
from access.kafka_acls import acl_rules, group_rules
from access.policy import load_policy, parse_policy
from resources.kms import PLATFORM
from resources.settings import Settings
from resources.topics import topic_settings
from tests.access.test_policy import TOPICS
from tests.aws_stand_in import allows as by_rules
from transforms.tables import TABLES

POLICY = load_policy()
ROOT = Path(__file__).parents[2]
PLACEHOLDERS = ("lake_bucket", "lake_prefix", "lake_kms_key", "keys_bucket", "keys_prefix", "keys_kms_key")
FILLED = {name: f"the-{name}" for name in PLACEHOLDERS} | {"lake_kms_key": "arn:lake", "keys_kms_key": "arn:keys"}
ACTIONS = {"READ": "s3:GetObject", "WRITE": "s3:PutObject", "REMOVE": "s3:DeleteObject"}


def allows(document: dict, action: str, resource: str, **context: str) -> bool:
    """Whether a compiled policy allows a request, once its names are filled in."""
    return by_rules(json.loads(Template(json.dumps(document)).substitute(FILLED)), action, resource, **context)


@pytest.mark.parametrize("name", sorted(POLICY.identities))
def test_a_role_does_to_each_table_what_the_policy_gives_and_no_more(name: str) -> None:
    document = iam_policies(POLICY).get(name, {"Statement": []})
    for table in TABLES:
        given = {
            verb
            for right in POLICY.identities[name].lake
            if fnmatchcase(table.name, right.tables)
            for verb in right.allow
        }
        where = f"arn:aws:s3:::the-lake_bucket/the-lake_prefix/{table.name}/_delta_log/0.json"
        assert {verb for verb, action in ACTIONS.items() if allows(document, action, where)} == given
        assert not any(allows(document, a, where, **{"aws:SecureTransport": "false"}) for a in ACTIONS.values())
        listed = {"s3:prefix": f"the-lake_prefix/{table.name}/_delta_log/"}
        assert allows(document, "s3:ListBucket", "arn:aws:s3:::the-lake_bucket", **listed) is ("READ" in given)
        assert not allows(document, "s3:GetObject", where.replace("the-lake_prefix", "another"))


@pytest.mark.parametrize("name", sorted(POLICY.identities))
def test_a_role_uses_the_customers_key_for_this_platform_and_by_its_rights_alone(name: str) -> None:
    document, keys = iam_policies(POLICY).get(name, {"Statement": []}), POLICY.identities[name].keys
    ours = {"kms:EncryptionContext:platform": PLATFORM}
    assert allows(document, "kms:Decrypt", "arn:keys", **ours) is ("OPEN" in keys)
    assert allows(document, "kms:Encrypt", "arn:keys", **ours) is ("SEAL" in keys)
    assert not allows(document, "kms:Decrypt", "arn:keys", **{"kms:EncryptionContext:platform": "another"})
    for owners in ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy", "kms:CreateGrant"):
        assert not allows(document, owners, "arn:keys", **ours)
    where = "arn:aws:s3:::the-keys_bucket/the-keys_prefix/days/x.json"
    assert allows(document, "s3:DeleteObject", where) is ("DESTROY" in keys)


def test_what_the_policy_says_of_the_lake_is_of_tables_that_are_there() -> None:
    names = {table.name for table in TABLES}
    for identity in POLICY.identities.values():
        for right in identity.lake:
            assert any(fnmatchcase(name, right.tables) for name in names), right


def test_confluents_rules_and_bindings_are_together_what_kafkas_rules_are() -> None:
    said = {(one["principal"], one["resource_name"], one["operation"]) for one in confluent_acls(POLICY, TOPICS)}
    for binding in confluent_role_bindings(POLICY, TOPICS):
        verb = {"DeveloperRead": "READ", "DeveloperWrite": "WRITE"}[binding["role"]]
        (place,) = binding["resourcePatterns"]
        added = {(binding["principal"], place["name"], one) for one in (verb, "DESCRIBE")}
        assert not added & said, "what a binding gives is no rule beside"
        said |= added
    rules = (*acl_rules(POLICY, TOPICS), *group_rules(POLICY, TOPICS))
    assert said == {(rule.principal, rule.name, rule.operation) for rule in rules}
    assert any(one["principal"] == "Group:platform-admins" for one in confluent_acls(POLICY, TOPICS))


def test_the_committed_files_are_what_the_policy_compiles_to(tmp_path: Path) -> None:
    expected = cloud_files(POLICY, topic_settings(Settings(home=tmp_path)))
    assert {name: (ROOT / "deploy" / name).read_text() for name in expected} == expected
    there = {str(path.relative_to(ROOT / "deploy")) for path in (ROOT / "deploy" / "aws" / "iam").glob("*")}
    assert there == {name for name in expected if name.startswith("aws/iam/")}


@pytest.mark.parametrize("bucket", ["lake", "keys"])
def test_a_bucket_refuses_what_is_not_encrypted_with_the_lake_s_key_or_comes_in_the_clear(bucket: str) -> None:
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    document = bucket_policies()[bucket]
    document["Statement"].append(everything)
    where = f"arn:aws:s3:::the-{bucket}_bucket/the-{bucket}_prefix/x"
    named = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    assert allows(document, "s3:PutObject", where, **{named: "arn:lake"})
    assert not allows(document, "s3:PutObject", where, **{named: "arn:another"})
    assert not allows(document, "s3:PutObject", where)
    assert allows(document, "s3:GetObject", where)
    clear = {"aws:SecureTransport": "false", named: "arn:lake"}
    assert not allows(document, "s3:PutObject", where, **clear)


def test_no_file_names_an_installation_or_holds_a_secret() -> None:
    for name, text in cloud_files(POLICY, TOPICS).items():
        assert not re.search(r"\d{12}|AKIA|password=(?!\$)", text), name


def test_the_schema_takes_the_policy_and_refuses_what_the_model_refuses() -> None:
    schema = json.loads(policy_schema())
    assert (ROOT / "access" / "policy.schema.json").read_text() == policy_schema()
    text = (ROOT / "access" / "policy.yaml").read_text()
    jsonschema.validate(yaml.safe_load(text), schema)
    for wrong in (
        "identities: {a: {note: x, right: 1}}",
        "identities: {a: {note: x, lake: [{tables: A, allow: [READ]}]}}",
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(wrong), schema)
        with pytest.raises(Exception, match="refused"):
            parse_policy(wrong)
