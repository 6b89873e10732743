"""The policy as files for clouds, by path below deploy/. Pure; `darkroom access files` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from access.aws_policies import bucket_policies, iam_policies
from access.confluent_rights import confluent_acls, confluent_role_bindings, ldap_properties
from access.databricks_rights import scim_groups
from access.policy import Policy


def cloud_files(policy: Policy, topics: Mapping[str, str]) -> dict[str, str]:
    """Each file's text by its path.

    Args:
        topics: what each `${name}` stands for.

    Raises:
        PolicyError: the policy names a `${name}` that is none of them.
    """
    documents: dict[str, object] = {f"aws/iam/{name}.json": said for name, said in iam_policies(policy).items()}
    documents |= {f"aws/buckets/{name}.json": said for name, said in bucket_policies().items()}
    documents["confluent/acls.json"] = confluent_acls(policy, topics)
    documents["confluent/role-bindings.json"] = confluent_role_bindings(policy, topics)
    documents["databricks/scim-groups.json"] = scim_groups(policy)
    found = {path: json.dumps(document, indent=2) + "\n" for path, document in documents.items()}
    found["confluent/ldap.properties"] = "".join(f"{name}={value}\n" for name, value in ldap_properties().items())
    return dict(sorted(found.items()))


def policy_schema() -> str:
    """What policy.yaml may say, as a JSON schema (2020-12), for editors."""
    return json.dumps(Policy.model_json_schema(by_alias=True), indent=2) + "\n"
