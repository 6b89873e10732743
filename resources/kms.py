"""The customer-managed key in AWS KMS: the provider `aws-kms`, beside `local`.

Why: the key's owner holds it in an account of their own, switches it off and on there, and sees every use in the trail.
Mechanism: Encrypt and Decrypt of 32 bytes under the configured key, bound by an encryption context to kind and name, so
that a document copied under another name does not unwrap. Decrypt names the configured key: what another key wrapped is
told, not tried. A multi-Region key has one id everywhere, and a replica opens what its primary wrapped.

Limits: data keys are wrapped under their day's key and not by KMS: a process asks it once for each day at hand, every
`key_cache_seconds`. It has run against a stand-in and not on AWS.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from access.aws_policies import KMS_PLATFORM as PLATFORM
from resources.key_objects import KeyUnavailable
from resources.key_provider import Cmk, State
from transforms.names import KEY_BYTES

if TYPE_CHECKING:
    from resources.settings import Settings

CONNECT_SECONDS, ANSWER_SECONDS, TRIES = 3, 10, 4
OPENING = ("Decrypt",)
"""Operations that who only opens is granted: executors of a cluster, the recogniser."""
_STATES: dict[str, State] = {
    "Enabled": "enabled",
    "PendingDeletion": "pending deletion",
    "PendingReplicaDeletion": "pending deletion",
    "PendingImport": "destroyed",
}
"""Of KMS's states, those that are not `disabled` to us."""
_ADVICE = {
    "DisabledException": "It is disabled: nothing is opened or sealed until its owner enables it.",
    "KMSInvalidStateException": "It is on its way to deletion, or not ready: its owner may cancel that.",
    "NotFoundException": "There is no such key in this account and region: look at keys_kms_key and aws_region.",
    "AccessDeniedException": "This identity may not use it: its owner may allow kms:Encrypt and kms:Decrypt, or give "
    "it a grant.",
    "UnrecognizedClientException": "The credentials are not AWS's: look at the role of this process.",
    "ExpiredTokenException": "The credentials have ended: look at the role of this process.",
    "InvalidKeyUsageException": "It is no key to encrypt with: a symmetric one (ENCRYPT_DECRYPT) is needed.",
}


class KmsKeyProvider:
    """Holds to `resources.key_provider.KeyProvider`. Safe for threads; a client is made at the first call.

    Args:
        key: ARN, id or alias (`alias/...`) of the customer-managed key.
        region: empty for what the environment says.
        endpoint: of KMS, where it is not the region's own (a VPC endpoint); empty for that one.
        older: keys that it took the place of, and that unwrap still; see `darkroom keys rotate --from`.
        profile: of AWS's configuration file, whose role asks; empty for that of the process.
    """

    def __init__(
        self, key: str, region: str = "", endpoint: str = "", older: tuple[str, ...] = (), profile: str = ""
    ) -> None:
        self._key = key
        self._older = older
        self._region = region
        self._endpoint = endpoint
        self._profile = profile
        self._lock = threading.Lock()
        self._made: Any = None

    def make(self) -> None:
        """See that the key is there and may be used: its owner makes it, and nobody here.

        Raises:
            KeyUnavailable: it is not, or not to be used; says what to do.
        """
        found = self._ask("describe_key", KeyId=self._key)["KeyMetadata"]
        if found["KeyState"] != "Enabled":
            raise self._refused("describe_key", found["KeyState"], "Its owner may enable it, or cancel its deletion.")
        if found["KeyUsage"] != "ENCRYPT_DECRYPT" or found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
            raise self._refused("describe_key", found["KeyUsage"], _ADVICE["InvalidKeyUsageException"])

    def wrap(self, material: bytes, kind: str, name: str) -> dict[str, str]:
        """Material encrypted for one kind and name, with the id of the key that did it. Raises KeyUnavailable."""
        done = self._ask("encrypt", KeyId=self._key, Plaintext=material, EncryptionContext=_context(kind, name))
        return {"wrapped_by": key_id(done["KeyId"]), "wrapped": base64.b64encode(done["CiphertextBlob"]).decode()}

    def unwrap(self, document: dict[str, Any], kind: str, name: str) -> bytes | None:
        """The material; None where the document was not wrapped so. Raises KeyUnavailable."""
        try:
            sealed = base64.b64decode(document["wrapped"], validate=True)
        except (KeyError, TypeError, ValueError):
            return None
        by = next((one for one in self._older if key_id(one) == document.get("wrapped_by")), self._key)
        asked = {"KeyId": by, "CiphertextBlob": sealed, "EncryptionContext": _context(kind, name)}
        done = self._ask("decrypt", document=document, **asked)
        if done is None:
            return None
        material = done["Plaintext"]
        return material if len(material) == KEY_BYTES else None

    def wraps_so(self, wrapped: dict[str, str]) -> bool:
        """Always: what KMS rotates keeps its id and opens for ever."""
        return True

    def describe(self) -> Cmk:
        """The key as KMS has it; an imported key whose material is gone counts as destroyed."""
        found = self._ask("describe_key", KeyId=self._key)["KeyMetadata"]
        state = _STATES.get(found["KeyState"], "disabled")
        return Cmk(found["KeyId"], state, found.get("DeletionDate"), tuple(map(key_id, self._older)))

    def set_state(self, state: State) -> None:
        """Switch it on or off, as its owner: this process's role needs kms:EnableKey, DisableKey, CancelKeyDeletion."""
        key = self._arn()
        if state == "disabled":
            self._ask("disable_key", KeyId=key)
            return
        if state != "enabled":
            raise ValueError(f"State {state!r} is none that a customer-managed key is put into: enabled, disabled.")
        if self.describe().state == "pending deletion":
            self._ask("cancel_key_deletion", KeyId=key)
        self._ask("enable_key", KeyId=key)

    def schedule_deletion(self, days: int, who: str) -> Cmk:
        """Have KMS delete it in 7 to 30 days; for 0 days imported material is deleted, which acts at once. Needs
        kms:ScheduleKeyDeletion or kms:DeleteImportedKeyMaterial; `who` stands in the trail by its role."""
        if days == 0:
            found = self._ask("describe_key", KeyId=self._key)["KeyMetadata"]
            if found.get("Origin") != "EXTERNAL":
                raise self._refused(
                    "delete_imported_key_material",
                    f"Origin {found.get('Origin')}",
                    "Only imported material can be deleted at once: ask for 7 to 30 days.",
                )
            self._ask("delete_imported_key_material", KeyId=found["Arn"])
        else:
            self._ask("schedule_key_deletion", KeyId=self._arn(), PendingWindowInDays=days)
        return self.describe()

    def rotate(self) -> str:
        """Nothing to do: KMS has its own rotation, under the same id, and another key comes by the settings."""
        return self.describe().id

    def forget_older(self) -> None:
        """Nothing to do: older keys are their owner's to delete."""

    def grant(self, role: str, kind: str | None = None, operations: tuple[str, ...] = OPENING) -> str:
        """Let a role use the key, for keys of this platform alone; returns the grant's id.

        Args:
            role: ARN of who may.
            kind: only for this kind of key (`day`, `platform-secret`); None for all.
            operations: of KMS; Decrypt unless said.
        """
        context = {"platform": PLATFORM, **({"kind": kind} if kind else {})}
        done = self._ask(
            "create_grant",
            KeyId=self._arn(),
            GranteePrincipal=role,
            Operations=list(operations),
            Constraints={"EncryptionContextSubset": context},
        )
        return done["GrantId"]

    def grants(self) -> list[dict[str, Any]]:
        """Every grant on the key, as KMS lists it."""
        return self._ask("list_grants", KeyId=self._arn())["Grants"]

    def revoke(self, grant: str) -> None:
        """Take a grant back."""
        self._ask("revoke_grant", KeyId=self._arn(), GrantId=grant)

    def _arn(self) -> str:
        # Calls about grants take no alias.
        return self._ask("describe_key", KeyId=self._key)["KeyMetadata"]["Arn"]

    def _ask(self, call: str, document: Mapping[str, Any] | None = None, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client(), call)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if document is not None and code == "InvalidCiphertextException":
                return None
            if code == "IncorrectKeyException" and document is not None:
                wrapped_by = document.get("wrapped_by")
                advice = f"It says that {wrapped_by!r} wrapped it: set keys_kms_key to that one, or its replica here."
                raise self._refused(call, code, advice) from error
            advice = _ADVICE.get(code, "Try again later; nothing was opened or sealed.")
            raise self._refused(call, code, advice) from error
        except BotoCoreError as error:
            raise KeyUnavailable(
                f"KMS cannot be asked: tried {_said(call)} of the key {self._key} at {self._where()}, got {error}. "
                "Look at the network, the region (aws_region) and this process's role; nothing was opened or sealed.",
                {"cmk": self._key},
            ) from error

    def _refused(self, call: str, code: str, advice: str) -> KeyUnavailable:
        return KeyUnavailable(
            f"KMS refuses: tried {_said(call)} of the customer-managed key {self._key} at {self._where()}, it answered "
            f"{code}. {advice}",
            {"cmk": self._key, "code": code},
        )

    def _where(self) -> str:
        return self._endpoint or self._region or "the region of the environment"

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                # A session of its own: the default one remembers whose credentials it found first.
                self._made = boto3.session.Session(profile_name=self._profile or None).client(
                    "kms",
                    region_name=self._region or None,
                    endpoint_url=self._endpoint or None,
                    config=Config(
                        connect_timeout=CONNECT_SECONDS,
                        read_timeout=ANSWER_SECONDS,
                        # Throttling and lost answers are tried again; refusals are not.
                        retries={"mode": "standard", "total_max_attempts": TRIES},
                    ),
                )
            return self._made


def kms_provider(settings: Settings, older: tuple[str, ...] = ()) -> KmsKeyProvider:
    """The provider of these settings; nothing is asked yet."""
    return KmsKeyProvider(
        settings.keys_kms_key, settings.aws_region, settings.kms_endpoint, older, settings.keys_profile
    )


def key_id(arn: str) -> str:
    """The id in a key's ARN; a multi-Region key's is the same everywhere."""
    return arn.rpartition("/")[2]


def _context(kind: str, name: str) -> dict[str, str]:
    return {"platform": PLATFORM, "kind": kind, "name": name}


def _said(call: str) -> str:
    """The name of the operation, as KMS has it."""
    return call.title().replace("_", "")
