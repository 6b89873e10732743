"""An outside OpenID provider: it proves who somebody is, in place of a password at the directory.

The authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636): the browser is sent to the provider,
comes back with a code, and the code is changed for an ID token over TLS. Of that token the signature, issuer, audience,
times and nonce are verified (3.1.3.7), and nothing is taken but the person's name: which groups they are in is the
directory's to say, anew at each token, so that a membership that was taken away acts within a minute here too.

Limits: no dynamic registration, no logout at the provider, and no session there is looked at again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from resources.failures import PermanentFailure, TransientFailure

if TYPE_CHECKING:
    import httpx

    from resources.settings import Settings

ALGORITHMS = ("ES256", "RS256", "PS256")
"""Signatures that are taken: a key that somebody may publish verifies them, and nothing without one does."""
LEEWAY_SECONDS = 30
KNOWN_SECONDS = 3600.0
"""So long the provider's description and keys are believed; an unknown key is asked for at once."""
AGAIN_SECONDS = 10.0
TIMEOUT_SECONDS = 5.0
LARGEST_ANSWER = 1 << 20


class OpenIdAway(TransientFailure):
    """The provider does not answer, or not what a provider answers: nobody can be proved."""


class OpenIdRefused(PermanentFailure):
    """What came back proves nobody; the message is for the log."""


@dataclass(frozen=True)
class Challenge:
    """What a browser keeps between leaving for the provider and coming back."""

    state: str
    nonce: str
    verifier: str
    goal: str

    def text(self) -> str:
        """As a cookie's value."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")


def challenge_of(text: str) -> Challenge | None:
    """What a cookie says; None where it is none of ours."""
    try:
        said = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        found = Challenge(**said)
    except (ValueError, TypeError, RecursionError):
        return None
    # JSON can spell half a surrogate pair; what we gave to keep is ASCII.
    return found if all(isinstance(one, str) and one and one.isascii() for one in asdict(found).values()) else None


class OpenId:
    """One provider, as this client of it sees it. Safe for threads; asks nothing before it is used.

    Args:
        settings: those whose names begin with `openid_`.

    Raises:
        OpenIdRefused: they cannot be; says which.
    """

    def __init__(self, settings: Settings) -> None:
        if urlsplit(settings.openid_issuer).scheme != "https":
            raise OpenIdRefused(f"openid_issuer is {settings.openid_issuer!r}; an address https://... is due.")
        if not settings.openid_client_id:
            raise OpenIdRefused(
                "openid_client_id is empty: the name is due under which the provider knows this client."
            )
        self._settings = settings
        self._lock = threading.Lock()
        self._known: tuple[float, dict[str, Any], dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """The provider, for people."""
        return urlsplit(self._settings.openid_issuer).hostname or ""

    def begin(self, back: str, goal: str) -> tuple[str, Challenge]:
        """Where to send a browser, and what it keeps meanwhile.

        Args:
            back: the address to come back to, as the provider knows it.
            goal: where the person wants to go afterwards.

        Raises:
            OpenIdAway: the provider does not describe itself.
        """
        kept = Challenge(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), goal)
        asked = {
            "response_type": "code",
            "client_id": self._settings.openid_client_id,
            "redirect_uri": back,
            "scope": self._settings.openid_scope,
            "state": kept.state,
            "nonce": kept.nonce,
            "code_challenge": _url64(hashlib.sha256(kept.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        place = self._description()["authorization_endpoint"]
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}", kept

    def finish(self, back: str, code: str, state: str, kept: Challenge) -> str:
        """The name of who came back.

        Raises:
            OpenIdAway: the provider does not answer.
            OpenIdRefused: it was not asked by this browser, or what it says proves nobody.
        """
        if not hmac.compare_digest(state.encode(), kept.state.encode()):
            raise OpenIdRefused("the state is another one than this browser left with")
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": kept.verifier,
        }
        told = self._changed(fields)
        claims = self._verified(told.get("id_token"))
        if not hmac.compare_digest(ascii(claims.get("nonce")).encode(), ascii(kept.nonce).encode()):
            raise OpenIdRefused("the ID token is for another sign-in: its nonce differs")
        name = claims.get(self._settings.openid_name_claim)
        if not isinstance(name, str) or not name:
            raise OpenIdRefused(
                f"the ID token has no claim {self._settings.openid_name_claim!r}; it has {_shown(sorted(claims))}"
            )
        if not name.isprintable():
            raise OpenIdRefused("the ID token's name has characters that nobody sees, or half of one")
        return name

    def check(self) -> None:
        """Ask whether the provider describes itself; raises OpenIdAway."""
        self._description()

    def _changed(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """The token endpoint's answer to a code."""
        import httpx

        place, own = self._description()["token_endpoint"], self._settings.openid_client_id
        try:
            with self._client() as client:
                if self._settings.openid_credentials is not None:
                    answer = client.post(place, data=dict(fields), auth=(own, self._secret()))
                else:
                    answer = client.post(place, data={**fields, "client_id": own})
            told = answer.json()
            if not isinstance(told, dict):
                raise ValueError("no JSON object")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise OpenIdAway(f"{place} did not change a code for a token: {error or type(error).__name__}.") from None
        if answer.status_code >= 500:
            raise OpenIdAway(f"{place} answered {answer.status_code}.")
        if answer.status_code != 200:
            # Its words, which RFC 6749 (5.2) keeps to a code; the code that was sent stands in none of them.
            raise OpenIdRefused(f"{place} answered {answer.status_code}: {_shown([told.get('error')])}")
        return told

    def _verified(self, token: object) -> dict[str, Any]:
        import jwt

        if not isinstance(token, str):
            raise OpenIdRefused("the provider gave no ID token: does openid_scope hold `openid`?")
        own = self._settings.openid_client_id
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=own,
                issuer=self._settings.openid_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise OpenIdRefused(f"the ID token is none of this provider's for this client: {_shown([error])}") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            # PyJWT judges signatures and claims, and takes it for granted that keys, headers and claims have a form.
            raise OpenIdRefused(
                f"the ID token or the provider's keys are out of all form ({type(error).__name__})"
            ) from None
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != own:
            raise OpenIdRefused("the ID token is for several clients, and was not given to this one (azp)")
        return claims

    def _key(self, kid: object) -> Any:
        import jwt

        for fresh in (False, True):
            document = self._both(fresh=fresh)[1]
            keys = [one for one in jwt.PyJWKSet.from_dict(document).keys if one.public_key_use in (None, "sig")]
            named = [one for one in keys if one.key_id == kid]
            if named or (kid is None and len(keys) == 1):
                return named[0] if named else keys[0]
        raise jwt.InvalidTokenError("no key of the provider's has the token's key id")

    def _description(self) -> dict[str, Any]:
        return self._both()[0]

    def _both(self, *, fresh: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        """The provider's description and its keys, asked for where they are old or, with `fresh`, not quite new."""
        with self._lock:
            now = time.monotonic()
            if self._known is None or now - self._known[0] > (AGAIN_SECONDS if fresh else KNOWN_SECONDS):
                issuer = self._settings.openid_issuer
                told = self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
                places = [told.get(name) for name in needed]
                if told.get("issuer") != issuer or not all(map(_is_address, places)):
                    raise OpenIdAway(
                        f"{issuer} does not describe itself as an OpenID provider of that very name with {needed} over "
                        f"https; it calls itself {told.get('issuer')!r}."
                    )
                self._known = now, told, self._get(str(told["jwks_uri"]))
            return self._known[1], self._known[2]

    def _get(self, place: str) -> dict[str, Any]:
        import httpx

        try:
            with self._client() as client, client.stream("GET", place) as answer:
                answer.raise_for_status()
                text = b""
                for part in answer.iter_bytes():
                    text += part
                    if len(text) > LARGEST_ANSWER:
                        raise ValueError(f"more than {LARGEST_ANSWER} bytes")
            found = json.loads(text)
            if not isinstance(found, dict):
                raise ValueError("no JSON object")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise OpenIdAway(f"{place} did not answer as a provider does: {error or type(error).__name__}.") from None
        return found

    def _client(self) -> httpx.Client:
        import httpx

        ca = self._settings.openid_ca
        try:
            trust = ssl.create_default_context(cafile=str(ca) if ca else None)
        except (OSError, ssl.SSLError) as error:
            raise OpenIdRefused(f"openid_ca is {ca}, which cannot be read: {error}.") from None
        return httpx.Client(verify=trust, timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False)

    def _secret(self) -> str:
        path = self._settings.openid_credentials
        try:
            return path.read_text().strip() if path else ""
        except OSError as error:
            raise OpenIdAway(f"openid_credentials is {path}, which cannot be read: {error.strerror}.") from None


def _is_address(place: object) -> bool:
    """Whether it is an https address that can be asked and told."""
    if not isinstance(place, str) or not place.isascii() or not place.isprintable():
        return False
    try:
        return urlsplit(place).scheme == "https" and bool(urlsplit(place).hostname)
    except ValueError:
        return False


def _shown(words: Iterable[object]) -> str:
    """Foreign words as a message for the log may show them: ASCII only, cut at 200."""
    return ", ".join(map(str, words)).encode("ascii", "backslashreplace").decode()[:200]


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
