"""Compiles the policy to AWS: one IAM policy for the role of each identity that reaches the lake or its keys. Pure.

Names of buckets and keys are of an installation: they stand as `${lake_bucket}` and so on, which Terraform's
`templatefile` fills in. The lake's rights are on the objects below a table's folder; the keys' on the objects of the
key store and on the customer-managed key that wraps them, which KMS uses for this platform alone (docs/keys.md).
Everything without TLS is denied, whatever else allows it. The buckets have a policy each, which refuses what is not
encrypted with the lake's key.

Actions by AWS's service authorization reference. Limit: no such role has run on AWS.
"""

from __future__ import annotations

from typing import Any

from access.policy import Identity, Policy

KMS_PLATFORM = "darkroom key 1"
"""What every call to KMS says of itself, as its encryption context."""
_OBJECTS = {
    "READ": ("s3:GetObject",),
    "WRITE": ("s3:PutObject", "s3:AbortMultipartUpload"),
    "REMOVE": ("s3:DeleteObject", "s3:DeleteObjectVersion"),
}
_S3_KMS = {"READ": ("kms:Decrypt",), "WRITE": ("kms:GenerateDataKey", "kms:Decrypt"), "REMOVE": ()}
_KEY_OBJECTS = {"OPEN": ("READ",), "SEAL": ("WRITE",), "DESTROY": ("READ", "WRITE", "REMOVE")}
"""Who destroys reads what stands and puts a tombstone in its place; it unwraps nothing."""
_WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}
_VERSIONS = ("s3:ListBucketVersions", "s3:GetBucketVersioning")
"""To see what a bucket keeps of objects that were removed or written over."""
_KEYS_KMS = {"OPEN": ("kms:Decrypt",), "SEAL": ("kms:Encrypt",), "DESTROY": ()}


def iam_policies(policy: Policy) -> dict[str, dict[str, Any]]:
    """The IAM policy of each identity that has a right on the lake or the keys, by the identity's name."""
    return {name: _document(one) for name, one in policy.identities.items() if one.lake or one.keys}


def bucket_policies() -> dict[str, dict[str, Any]]:
    """The policy of each bucket, lake and keys: whoever writes an object there names the lake's KMS key, or is refused.

    A negated condition holds where its key is absent, too: an upload that names no key is refused as one that names
    another.
    """
    found = {}
    for name in ("lake", "keys"):
        bucket = f"arn:aws:s3:::${{{name}_bucket}}"
        objects = f"{bucket}/${{{name}_prefix}}/*"
        key = {"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "${lake_kms_key}"}}
        statements = [
            _deny("EncryptedWithThisKey", ["s3:PutObject"], [objects], key),
            _deny("NothingInTheClear", ["s3:*"], [bucket, f"{bucket}/*"], _WITHOUT_TLS),
        ]
        found[name] = {
            "Version": "2012-10-17",
            "Statement": [{**one, "Principal": "*"} for one in statements],
        }
    return found


def _document(identity: Identity) -> dict[str, Any]:
    statements = [*_lake(identity), *_keys(identity), *_encryption(identity)]
    statements.append(_deny("NothingInTheClear", ["s3:*"], ["*"], _WITHOUT_TLS))
    return {"Version": "2012-10-17", "Statement": statements}


def _lake(identity: Identity) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for verb, actions in _OBJECTS.items():
        tables = sorted({right.tables for right in identity.lake if verb in right.allow})
        if not tables:
            continue
        found.append(
            _allow(
                f"Lake{verb.title()}",
                actions,
                [f"arn:aws:s3:::${{lake_bucket}}/${{lake_prefix}}/{_below(table)}" for table in tables],
            )
        )
        if verb == "READ":
            found.append(
                _allow(
                    "LakeList",
                    ("s3:ListBucket",),
                    ["arn:aws:s3:::${lake_bucket}"],
                    {"StringLike": {"s3:prefix": [f"${{lake_prefix}}/{_below(table)}" for table in tables]}},
                )
            )
    if any("REMOVE" in right.allow for right in identity.lake):
        found.append(_allow("LakeVersions", _VERSIONS, ["arn:aws:s3:::${lake_bucket}"]))
    return found


def _encryption(identity: Identity) -> list[dict[str, Any]]:
    """The key that the objects of both buckets are encrypted with, which S3 asks for in this identity's name."""
    verbs = {verb for right in identity.lake for verb in right.allow}
    verbs |= {verb for right in identity.keys for verb in _KEY_OBJECTS[right]}
    used = sorted({action for verb in verbs for action in _S3_KMS[verb]})
    through = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com"}}
    return [_allow("ObjectEncryption", used, ["${lake_kms_key}"], through)] if used else []


def _keys(identity: Identity) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    used: set[str] = set()
    for verb in ("OPEN", "SEAL", "DESTROY"):
        if verb not in identity.keys:
            continue
        used |= set(_KEYS_KMS[verb])
        where = ["arn:aws:s3:::${keys_bucket}/${keys_prefix}/*"]
        actions = [action for one in _KEY_OBJECTS[verb] for action in _OBJECTS[one]]
        found.append(_allow(f"Keys{verb.title()}", actions, where))
    if "OPEN" in identity.keys or "DESTROY" in identity.keys:
        prefix = {"StringLike": {"s3:prefix": ["${keys_prefix}/*"]}}
        found.append(_allow("KeysList", ("s3:ListBucket",), ["arn:aws:s3:::${keys_bucket}"], prefix))
    if "DESTROY" in identity.keys:
        found.append(_allow("KeysVersions", _VERSIONS, ["arn:aws:s3:::${keys_bucket}"]))
    if used:
        platform = {"StringEquals": {"kms:EncryptionContext:platform": KMS_PLATFORM}}
        found.append(_allow("KeysWrapping", sorted(used), ["${keys_kms_key}"], platform))
    if "SEAL" in identity.keys:
        # Of the key itself, which no context goes with: is it there, enabled, and of the right kind?
        found.append(_allow("KeysDescribe", ("kms:DescribeKey",), ["${keys_kms_key}"]))
    return found


def _allow(
    name: str, actions: tuple[str, ...] | list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": name, "Effect": "Allow", "Action": list(actions), "Resource": resources}
    return statement if condition is None else {**statement, "Condition": condition}


def _deny(name: str, actions: list[str], resources: list[str], condition: dict[str, Any]) -> dict[str, Any]:
    return {"Sid": name, "Effect": "Deny", "Action": actions, "Resource": resources, "Condition": condition}


def _below(table: str) -> str:
    return "*" if table == "*" else f"{table.removesuffix('/*')}/*"
