"""The signer: who makes tokens, for sign-in and for whoever owns the laptop's stack.

Mechanism: one ES256 key pair; the private half in a file for its owner alone, the public half in the JWKS file that
`access.tokens` reads. The kid is the key's RFC 7638 thumbprint. Rotation publishes the new key before it signs, and the
old one for as long as its tokens live.

Limit: it believes whoever can read the key file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from access.principal import KAFKA_CLAIM, check_names, kafka_principal
from access.tokens import ALGORITHM


class SignerNotReady(Exception):
    """The signer's key is not there or no key of its kind; the message says what to do."""


class Signer:
    """Signs tokens of one issuer for one audience with a key on disk."""

    def __init__(
        self,
        key_path: Path,
        jwks_path: Path,
        issuer: str,
        audience: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is read or made here.

        Args:
            key_path: PEM file of the private key (PKCS#8), 0600.
            jwks_path: where the public key is published.
            issuer: the tokens' `iss`.
            audience: the tokens' `aud`.
            now: the time that tokens are stamped with, with a zone.
        """
        self._key_path = key_path
        self._jwks_path = jwks_path
        self._issuer = issuer
        self._audience = audience
        self._now = now

    def initialise(self) -> None:
        """Make the key unless there is one, and publish its public half. Harmless to repeat, and to race."""
        if not self._key_path.exists():
            self._key_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._key_path, _new_key(), 0o600, overwrite=False)
        self._publish()

    def rotate(self, known: Callable[[], None] = lambda: None) -> str:
        """Sign with a new key from now on; the old one stays published until the next rotation or `retire`.

        Killed at any step, what signs is published, and the next call begins anew.

        Args:
            known: returns once everybody who verifies has what was published; the new key signs after that.

        Returns:
            The new key's id.

        Raises:
            SignerNotReady: there is no key yet.
        """
        self._key()
        coming, before = self._beside("next"), self._beside("previous")
        coming.unlink(missing_ok=True)
        _write(coming, _new_key(), 0o600, overwrite=True)
        self._publish()
        known()
        # The old one by a second name first: it is never not there.
        before.unlink(missing_ok=True)
        os.link(self._key_path, before)
        os.replace(coming, self._key_path)
        self._publish()
        return _public_jwk(self._key())["kid"]

    def retire(self) -> bool:
        """Publish the key before the last rotation no more, whose tokens are refused then; whether there was one."""
        before = self._beside("previous")
        there = before.exists()
        before.unlink(missing_ok=True)
        self._publish()
        return there

    def public_keys(self) -> bytes:
        """The JWK set as it is published.

        Raises:
            SignerNotReady: it cannot be read.
        """
        try:
            return self._jwks_path.read_bytes()
        except OSError as error:
            raise SignerNotReady(f"The published keys {self._jwks_path} cannot be read: {error.strerror}.") from None

    def _publish(self) -> None:
        keys = [_public_jwk(self._key())]
        keys += [_public_jwk(_load(path)) for name in ("next", "previous") if (path := self._beside(name)).exists()]
        jwks = json.dumps({"keys": keys}, indent=2).encode() + b"\n"
        if not self._jwks_path.exists() or self._jwks_path.read_bytes() != jwks:
            self._jwks_path.parent.mkdir(parents=True, exist_ok=True)
            _write(self._jwks_path, jwks, 0o644, overwrite=True)

    def _beside(self, name: str) -> Path:
        return self._key_path.with_name(f"{self._key_path.stem}.{name}{self._key_path.suffix}")

    def token(self, subject: str, groups: Sequence[str] = (), ttl: timedelta = timedelta(hours=1)) -> str:
        """A signed token.

        Args:
            subject: the person's name; names of services are refused.
            groups: their groups.
            ttl: how long it is good for.

        Raises:
            ValueError: a subject or group that no verifier would take, or a lifetime of nothing.
            SignerNotReady: there is no key; `initialise` makes it.
        """
        principal = check_names(subject, list(groups))
        if ttl <= timedelta(0):
            raise ValueError(f"A token is good for some time; {ttl} was given.")
        key = self._key()
        issued = self._now()
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.subject,
            "groups": list(principal.groups),
            KAFKA_CLAIM: kafka_principal(principal.subject),
            "iat": issued,
            "exp": issued + ttl,
        }
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": _public_jwk(key)["kid"]})

    def _key(self) -> ec.EllipticCurvePrivateKey:
        return _load(self._key_path)


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SignerNotReady(
            f"The signer's key {path} cannot be read: {error}. `darkroom up` makes one where none is."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignerNotReady(f"{path} holds no P-256 key, which {ALGORITHM} needs. Remove it to have one made.")
    return key


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    point = {"crv": "P-256", "kty": "EC", "x": _base64url(numbers.x), "y": _base64url(numbers.y)}
    canonical = json.dumps(point, sort_keys=True, separators=(",", ":")).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    return {**point, "kid": kid, "alg": ALGORITHM, "use": "sig"}


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _write(path: Path, content: bytes, mode: int, *, overwrite: bool) -> None:
    """Put the whole file in place at once; without `overwrite` the first of several writers stays."""
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(staged, mode)
        if overwrite:
            os.replace(staged, path)
            return
        with contextlib.suppress(FileExistsError):  # another was first, and its key is as good
            os.link(staged, path)
    finally:
        Path(staged).unlink(missing_ok=True)
