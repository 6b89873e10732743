"""A stand-in for AWS's KMS and S3: moto's server, and laid over it the states of keys that stock moto does not enforce.

A key that is disabled, on its way to deletion, or denied by its policy encrypts and decrypts nothing, and S3 neither
writes nor reads an object under it; a bucket's policy denies uploads by the key that they name; a window of deletion
has 7 to 30 days; what another key encrypted is refused by IncorrectKeyException; a key may be switched by its ARN;
replicas of a multi-Region key open each other's ciphertext. `stock=True` leaves all of that out: tests show what it
would let through.

A role that was given IAM policies (`Aws.role`) does what they allow and nothing else, by AWS's rules as `allows` has
them; who asks is the access key of the request.

Not enforced: signatures and secrets (any are taken), who was given no role, other policies than an explicit Deny in a
key's policy and a Deny by key in a bucket's, grants (they are kept and listed), rate limits other than the ones asked
for here, the delays of the real one. What S3 asks of KMS in a role's name is not looked at.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from flask import request
from moto.core.exceptions import JsonRESTError
from moto.kms import models
from moto.kms import utils as kms_utils
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3.exceptions import S3ClientError
from moto.s3.models import S3Backend

REGION, OTHER_REGION = "eu-central-1", "eu-west-1"
KMS = models.KmsBackend
_NAMED_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_SWITCHES = ("disable_key", "enable_key", "schedule_key_deletion", "cancel_key_deletion")


class Refused(JsonRESTError):
    """An error of KMS by its name."""

    code = 400


class ObjectRefused(S3ClientError):
    """An error of S3 because of a key."""

    code = 400


class Aws:
    """The stand-in, as whoever owns the account sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults: list[str] = []
        """Names of KMS errors that the next calls give, one each."""
        self.delay = 0.0
        """Seconds that KMS thinks before each answer."""
        self.asked = 0
        """Calls that encrypted or decrypted, or tried."""
        self.server: ThreadedMotoServer | None = None
        self.policies: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, dict[str, Any]] = {}
        """The IAM policy of each role, by the access key that it shows."""

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens, for a while; what there was is there again afterwards."""
        assert self.server is not None
        host, port = self.server.get_host_and_port()
        self.server.stop()
        try:
            yield
        finally:
            self.server = ThreadedMotoServer(host, port, verbose=False)
            self.server.start()

    def client(self, service: str, region: str = REGION) -> Any:
        """A client with credentials that nobody checks."""
        return boto3.client(
            service, region_name=region, endpoint_url=self.url, aws_access_key_id="stand-in", aws_secret_access_key="x"
        )

    def role(self, name: str, policy: dict[str, Any], file: Path) -> None:
        """Make a role with one policy, and write a profile of that name for it into a file of AWS's configuration."""
        self.roles[name] = policy
        with file.open("a") as written:
            written.write(f"[profile {name}]\naws_access_key_id = {name}\naws_secret_access_key = x\n")

    def key(self, *, multi_region: bool = False, usage: str = "ENCRYPT_DECRYPT") -> str:
        """Make a key; returns its ARN."""
        made = self.client("kms").create_key(MultiRegion=multi_region, KeyUsage=usage)
        return made["KeyMetadata"]["Arn"]

    def bucket(self, name: str) -> str:
        """Make a bucket."""
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def guard(self, bucket: str, policy: dict[str, Any]) -> None:
        """Give a bucket a policy."""
        # Not by put_bucket_policy: moto takes every Deny at its word, whatever its condition.
        self.policies[bucket] = policy

    def deny(self, key: str, *actions: str) -> None:
        """An explicit Deny in the key's policy; none lifts it."""
        statements = [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]
        if actions:
            statements.append({"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": "*"})
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=policy)


@contextmanager
def aws(*, stock: bool = False) -> Iterator[Aws]:
    """A running stand-in on a free port of this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    stand_in = Aws(f"http://{host}:{port}")
    stand_in.server = server
    try:
        with _enforced(stand_in) if not stock else _nothing():
            yield stand_in
    finally:
        stand_in.server.stop()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _enforced(stand_in: Aws) -> Iterator[None]:
    patches = [
        patch.object(KMS, "encrypt", _guarded(stand_in, KMS.encrypt, "kms:Encrypt")),
        patch.object(KMS, "generate_data_key", _guarded(stand_in, KMS.generate_data_key, "kms:GenerateDataKey")),
        patch.object(KMS, "decrypt", _decrypting(stand_in)),
        *(patch.object(KMS, name, _by_any_id(getattr(KMS, name))) for name in _SWITCHES),
        patch.object(S3Backend, "put_object", _writing(stand_in, S3Backend.put_object)),
        patch.object(S3Backend, "get_object", _reading(stand_in, S3Backend.get_object)),
        patch.object(S3Backend, "delete_object", _by_role(stand_in, S3Backend.delete_object, "s3:DeleteObject")),
        patch.object(S3Backend, "list_objects", _by_role(stand_in, S3Backend.list_objects, "s3:ListBucket")),
    ]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def _trouble(key: Any, action: str) -> str | None:
    """Why a key may not be used; None where it may."""
    for statement in json.loads(key.policy or "{}").get("Statement", []):
        actions = statement.get("Action", [])
        actions = [actions] if isinstance(actions, str) else actions
        if statement.get("Effect") == "Deny" and (action in actions or "kms:*" in actions):
            return "AccessDeniedException"
    return {"Enabled": None, "Disabled": "DisabledException"}.get(key.key_state, "KMSInvalidStateException")


def _check(stand_in: Aws, key: Any, action: str) -> None:
    stand_in.asked += 1
    time.sleep(stand_in.delay)
    if stand_in.faults:
        raise Refused(stand_in.faults.pop(0), "as asked for")
    if (name := _trouble(key, action)) is not None:
        raise Refused(name, f"{key.arn} may not be used for {action}")


def _guarded(stand_in: Aws, real: Callable[..., Any], action: str) -> Callable[..., Any]:
    def guarded(self: Any, key_id: str, *arguments: Any, **named: Any) -> Any:
        key = self.keys.get(self.any_id_to_key_id(key_id))
        if key is not None:
            context = named.get("encryption_context", arguments[1] if len(arguments) > 1 else {}) or {}
            _of_role(stand_in, action, key.arn, Refused, context)
            _check(stand_in, key, action)
        return real(self, key_id, *arguments, **named)

    return guarded


def _decrypting(stand_in: Aws) -> Callable[..., Any]:
    def decrypt(
        self: Any, ciphertext_blob: bytes, encryption_context: dict[str, str], key_id: str | None = None
    ) -> Any:
        try:
            cut = kms_utils._deserialize_ciphertext_blob(ciphertext_blob=ciphertext_blob).key_id
        except Exception:
            raise Refused("InvalidCiphertextException", "no ciphertext of KMS") from None
        # moto keeps 36 characters of an id, and a multi-Region key's has 40.
        every = {id for backend in models.kms_backends[self.account_id].values() for id in backend.keys}
        wrote = next((id for id in every if id.startswith(cut)), None)
        if wrote is None:
            raise Refused("InvalidCiphertextException", "no key here wrote it")
        asked = self.any_id_to_key_id(key_id) if key_id is not None else wrote
        if asked in self.keys:
            _of_role(stand_in, "kms:Decrypt", self.keys[asked].arn, Refused, encryption_context)
            _check(stand_in, self.keys[asked], "kms:Decrypt")
        if asked != wrote:
            raise Refused("IncorrectKeyException", "another key encrypted it")
        keys = {cut: self.keys[asked]}
        found, _ = kms_utils.decrypt(keys, ciphertext_blob, encryption_context)
        return found, self.keys[asked].arn

    return decrypt


def _by_any_id(real: Callable[..., Any]) -> Callable[..., Any]:
    def switch(self: Any, key_id: str, *arguments: Any, **named: Any) -> Any:
        days = named.get("pending_window_in_days", arguments[0] if arguments else 30)
        if real.__name__ == "schedule_key_deletion" and not 7 <= days <= 30:
            raise Refused("ValidationException", "PendingWindowInDays must be between 7 and 30")
        return real(self, self.any_id_to_key_id(key_id), *arguments, **named)

    return switch


def _of_key(backend: Any, key_id: str | None, action: str) -> None:
    """Refuse as S3 does what the key of an object does not let it do."""
    if not key_id:
        return
    region = key_id.split(":")[3] if key_id.startswith("arn:") else REGION
    kms = models.kms_backends[backend.account_id][region]
    key = kms.keys.get(kms.any_id_to_key_id(key_id))
    name = "NotFoundException" if key is None else _trouble(key, action)
    if name is not None:
        raise ObjectRefused("AccessDenied" if name == "AccessDeniedException" else f"KMS.{name}", f"{key_id}: {name}")


def _writing(stand_in: Aws, real: Callable[..., Any]) -> Callable[..., Any]:
    def put_object(self: Any, bucket_name: str, key_name: str, *arguments: Any, **named: Any) -> Any:
        _of_role(stand_in, "s3:PutObject", f"arn:aws:s3:::{bucket_name}/{key_name}", ObjectRefused)
        _of_bucket(stand_in, bucket_name, key_name, named.get("kms_key_id"))
        _of_key(self, named.get("kms_key_id"), "kms:GenerateDataKey")
        return real(self, bucket_name, key_name, *arguments, **named)

    return put_object


def _of_bucket(stand_in: Aws, bucket: str, name: str, key_id: str | None) -> None:
    """Refuse what the bucket's policy denies because of the key that an upload names, or names not."""
    for statement in stand_in.policies.get(bucket, {}).get("Statement", []):
        wanted = statement.get("Condition", {}).get("StringNotEquals", {}).get(_NAMED_KEY)
        below = tuple(one.partition(":::")[2].removesuffix("*") for one in statement["Resource"])
        denies = statement["Effect"] == "Deny" and "s3:PutObject" in statement["Action"]
        if denies and wanted not in (None, key_id) and f"{bucket}/{name}".startswith(below):
            raise ObjectRefused("AccessDenied", f"{bucket}'s policy denies an upload under {key_id or 'no key'}")


def _reading(stand_in: Aws, real: Callable[..., Any]) -> Callable[..., Any]:
    def get_object(self: Any, bucket_name: str, key_name: str, *arguments: Any, **named: Any) -> Any:
        _of_role(stand_in, "s3:GetObject", f"arn:aws:s3:::{bucket_name}/{key_name}", ObjectRefused)
        found = real(self, bucket_name, key_name, *arguments, **named)
        _of_key(self, getattr(found, "kms_key_id", None), "kms:Decrypt")
        return found

    return get_object


def _by_role(stand_in: Aws, real: Callable[..., Any], action: str) -> Callable[..., Any]:
    """Of a call about a bucket: its objects by their name, or by the prefix that is listed."""

    def guarded(self: Any, bucket: Any, name: str | None = None, *arguments: Any, **named: Any) -> Any:
        where = f"arn:aws:s3:::{bucket if isinstance(bucket, str) else bucket.name}"
        if action == "s3:ListBucket":
            _of_role(stand_in, action, where, ObjectRefused, listed=name or "")
        else:
            _of_role(stand_in, action, f"{where}/{name}", ObjectRefused)
        return real(self, bucket, name, *arguments, **named)

    return guarded


def _of_role(
    stand_in: Aws,
    action: str,
    resource: str,
    error: Callable[[str, str], Exception],
    encryption: Mapping[str, str] | None = None,
    listed: str | None = None,
) -> None:
    """Refuse what the role that asks is not allowed."""
    shown = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", "")) if request else None
    policy = stand_in.roles.get(shown.group(1)) if shown else None
    if policy is None:
        return
    context = {f"kms:EncryptionContext:{name}": value for name, value in (encryption or {}).items()}
    if listed is not None:
        context["s3:prefix"] = listed
    if not allows(policy, action, resource, **context):
        name = "AccessDeniedException" if action.startswith("kms:") else "AccessDenied"
        raise error(name, f"{shown.group(1) if shown else 'nobody'} may not {action} {resource}")


def allows(policy: Mapping[str, Any], action: str, resource: str, **context: str) -> bool:
    """Whether a policy of IAM allows a request, by AWS's rules: a denial wins, and what nothing allows is refused.

    Of conditions it knows those that the compiler writes. A request comes by TLS unless `context` says otherwise.
    """
    context = {"aws:SecureTransport": "true", **context}
    allowed = False
    for statement in policy["Statement"]:
        if not any(fnmatchcase(action, one) for one in statement["Action"]):
            continue
        if not any(fnmatchcase(resource, one) for one in statement["Resource"]):
            continue
        conditions = statement.get("Condition", {})
        if all(
            any(fnmatchcase(context.get(key, ""), value) for value in ([wanted] if isinstance(wanted, str) else wanted))
            is not (operator == "StringNotEquals")
            for operator, keys in conditions.items()
            for key, wanted in keys.items()
        ):
            if statement["Effect"] == "Deny":
                return False
            allowed = True
    return allowed
