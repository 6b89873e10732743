"""Verification of bearer tokens: from a signed JWT to a `Principal`, or a refusal with its reason for the log.

Why: every door asks the same question, and must fail closed the same way. Mechanism: PyJWT with ES256 and nothing else
(a token cannot choose its algorithm), the public key found by `kid` in a JWKS file, which is read again when it
changes; so sign-in later replaces only whoever writes that file.

Limits: a token is good until it expires, there is no revocation list; clocks may differ by `LEEWAY_SECONDS`.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jwt

from access.principal import Principal, check_names

ALGORITHM = "ES256"
LEEWAY_SECONDS = 10
LARGEST_TOKEN = 8192
REQUIRED_CLAIMS = ("iss", "aud", "sub", "groups", "iat", "exp")


class TokenRefused(Exception):
    """A token that proves nothing (401). `detail` is for the log: tell the caller no more than "refused"."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class JwksUnavailable(Exception):
    """The issuer's public keys cannot be read: no token can be judged, good or bad (503, not ready)."""


@dataclass(frozen=True)
class Proof:
    """Who a token speaks for, and until when."""

    principal: Principal
    expires: datetime


class TokenVerifier:
    """Verifies tokens of one issuer for one audience. Safe for threads."""

    def __init__(self, jwks_path: Path, issuer: str, audience: str) -> None:
        """Nothing is read here; `ready` and `verify` read the file when it is new or changed."""
        self._path = jwks_path
        self._issuer = issuer
        self._audience = audience
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}

    def ready(self) -> None:
        """Raise JwksUnavailable unless there are keys to verify with."""
        self._current_keys()

    def verify(self, token: str) -> Principal:
        """The principal that a token proves; raises as `judge` does."""
        return self.judge(token).principal

    def judge(self, token: str) -> Proof:
        """The principal that a token proves, and when it expires: for doors whose connections outlive a token.

        Raises:
            TokenRefused: not a token of this issuer for this audience, now, with every claim due.
            JwksUnavailable: the issuer's keys cannot be read.
        """
        if len(token) > LARGEST_TOKEN or not token.isascii():
            raise TokenRefused(
                f"The token is no ASCII text of at most {LARGEST_TOKEN} characters; it has {len(token)}."
            )
        key = self._key_for(token)
        try:
            claims = jwt.decode(
                token,
                key=key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": list(REQUIRED_CLAIMS)},
            )
        except jwt.PyJWTError as error:
            refusal = f"{type(error).__name__}: {error}"
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            refusal = f"the token's content is out of all form ({type(error).__name__})"
        else:
            try:
                principal = check_names(claims["sub"], claims["groups"])
                return Proof(principal, datetime.fromtimestamp(int(claims["exp"]), UTC))
            except (ValueError, OverflowError, OSError) as error:
                refusal = str(error)
        raise TokenRefused(f"Token refused (issuer {self._issuer}, audience {self._audience}): {refusal}")

    def _key_for(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            # Deep nesting ends in RecursionError, and nobody has proved anything yet: it must not end in a 500.
            header, problem = {}, type(error).__name__
        else:
            problem = ""
        if problem:
            raise TokenRefused(f"The token has no header that can be read ({problem}).")
        if header.get("alg") != ALGORITHM:
            raise TokenRefused(f"The token's alg is {str(header.get('alg'))[:32]!a}; taken is {ALGORITHM} only.")
        kid = header.get("kid")
        keys = self._current_keys()
        if not isinstance(kid, str) or kid not in keys:
            known = ", ".join(sorted(keys))
            raise TokenRefused(f"The token's kid is {str(kid)[:64]!a}; known in {self._path} are: {known}.")
        return keys[kid]

    def _current_keys(self) -> dict[str, jwt.PyJWK]:
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            with self._lock:
                if seen != self._seen:
                    self._keys = _parse(self._path.read_bytes())
                    self._seen = seen
                return self._keys
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise JwksUnavailable(
                f"The issuer's public keys at {self._path} cannot be used: {error}. No token can be judged until "
                "the file is a JWKS with an ES256 key (setting `token_jwks`)."
            ) from error


def _parse(raw: bytes) -> dict[str, jwt.PyJWK]:
    """The ES256 keys of a JWKS by kid; other keys are passed over. Raises ValueError where nothing is left."""
    document = json.loads(raw)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it has no list `keys`")
    found: dict[str, jwt.PyJWK] = {}
    for entry in entries:
        if not isinstance(entry, dict) or (entry.get("kty"), entry.get("crv")) != ("EC", "P-256"):
            continue
        if entry.get("alg", ALGORITHM) != ALGORITHM or entry.get("use", "sig") != "sig":
            continue
        if "d" in entry:
            raise ValueError("it holds a private key, which belongs to the issuer alone")
        kid = entry.get("kid")
        if not isinstance(kid, str) or not kid or kid in found:
            raise ValueError("a key lacks its kid, or two keys share one")
        found[kid] = jwt.PyJWK(entry, ALGORITHM)
    if not found:
        raise ValueError("it holds no ES256 key")
    return found
