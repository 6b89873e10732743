"""Who may do what to keys, by the one policy: looked at by whoever opens the key store, before a key is touched.

Why: that a process cannot open should not hang on what somebody forgot to take from its role, and a slip should be told
in words and not by images that are open where nobody meant them to be. Mechanism: the identity is the common name of
the certificate that the process shows; its `keys` in the policy are its rights.

Limits: this is the platform's own word. What holds against somebody who runs other code is the role's rights on KMS and
on the key store's bucket, which the same policy compiles to. A process without a certificate is known by its account,
of which the policy says nothing: nothing is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from access.policy import KeyVerb, Policy, load_policy
from resources.key_objects import KeyUnavailable

if TYPE_CHECKING:
    from resources.settings import Settings

EVERY: frozenset[KeyVerb] = frozenset(get_args(KeyVerb))
_DEEDS: dict[KeyVerb, str] = {
    "OPEN": "open a key",
    "SEAL": "take or make a key to seal with",
    "DESTROY": "destroy, rotate or hold keys",
}


class KeyForbidden(KeyUnavailable):
    """The policy does not let this identity do that to keys."""


@dataclass(frozen=True)
class KeyRights:
    """What one identity may do to keys.

    Args:
        who: the identity.
        may: its rights.
        others: who has which right, for the sentence.
    """

    who: str
    may: frozenset[KeyVerb] = EVERY
    others: tuple[tuple[str, tuple[KeyVerb, ...]], ...] = ()

    def require(self, *verbs: KeyVerb) -> None:
        """Go on where the identity has one of these rights.

        Raises:
            KeyForbidden: it has none; says who has.
        """
        if not self.may.isdisjoint(verbs):
            return
        able = [name for name, rights in self.others if not set(verbs).isdisjoint(rights)]
        raise KeyForbidden(
            f"{self.who} may not {_DEEDS[verbs[0]]}: by the policy those may who have keys: "
            f"{' or '.join(verbs)}, which are {', '.join(able) or 'none'}. Run it as one of them (setting `identities` "
            "for Dagster's runs), or give the right in access/policy.yaml.",
            {"identity": self.who},
        )


def key_rights(settings: Settings) -> KeyRights:
    """The rights of a process with these settings."""
    return rights_of(identity_of(settings), certified=settings.kafka_certificate is not None)


def rights_of(who: str, *, certified: bool, policy: Policy | None = None) -> KeyRights:
    """The rights of an identity; all of them without a certificate, of whom the policy says nothing."""
    if not certified:
        return KeyRights(who)
    identities = (policy or _policy()).identities
    mine: Iterable[KeyVerb] = identities[who].keys if who in identities else ()
    return KeyRights(who, frozenset(mine), tuple((name, one.keys) for name, one in identities.items()))


def identity_of(settings: Settings) -> str:
    """Who this process is: its certificate's common name, else its account."""
    path = settings.kafka_certificate
    return settings.identity if path is None else _common_name(path) or settings.identity


def _common_name(path: Path) -> str | None:
    """A certificate's common name; None where there is no certificate to read, which its connections then tell."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes()).subject
    except (OSError, ValueError):
        return None
    names = found.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


@cache
def _policy() -> Policy:
    return load_policy()
