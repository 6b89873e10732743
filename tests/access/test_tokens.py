"""What a door believes: only a token of our issuer, for us, now, signed with the key it names."""

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from access.principal import RESERVED_SUBJECTS, Principal
from access.signer import Signer, SignerNotReady
from access.tokens import LARGEST_TOKEN, JwksUnavailable, TokenRefused, TokenVerifier

ISSUER = "https://issuer.test"
AUDIENCE = "darkroom-test"


@pytest.fixture
def signer(tmp_path):
    signer = Signer(tmp_path / "secrets/signer.key", tmp_path / "tls/jwks.json", ISSUER, AUDIENCE)
    signer.initialise()
    return signer


@pytest.fixture
def jwks(signer, tmp_path):
    return tmp_path / "tls/jwks.json"


@pytest.fixture
def verifier(jwks):
    return TokenVerifier(jwks, ISSUER, AUDIENCE)


@pytest.fixture
def forge(signer, tmp_path, jwks):
    """A token signed with the right key, good but for what is overridden; None takes a claim or header away."""
    key = serialization.load_pem_private_key((tmp_path / "secrets/signer.key").read_bytes(), None)
    kid = json.loads(jwks.read_text())["keys"][0]["kid"]

    def make(*, headers=None, signed_by=key, **overrides):
        now = datetime.now(UTC)
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "groups": ["photographers"],
            "iat": now,
            "exp": now + timedelta(minutes=5),
        }
        claims = {name: value for name, value in {**good, **overrides}.items() if value is not None}
        head = {name: value for name, value in {"kid": kid, **(headers or {})}.items() if value is not None}
        return jwt.encode(claims, signed_by, algorithm="ES256", headers=head)

    return make


def _raw_token(header: dict, claims: dict, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _good_claims() -> dict:
    now = int(datetime.now(UTC).timestamp())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "groups": [], "iat": now, "exp": now + 300}


def test_a_token_of_the_development_signer_proves_its_subject_and_groups(signer, verifier):
    assert verifier.verify(signer.token("alice", ["a", "b"])) == Principal("alice", ("a", "b"))
    assert verifier.verify(signer.token("zoë@example.org")) == Principal("zoë@example.org", ())


def test_the_forging_helper_makes_a_good_token_when_nothing_is_overridden(forge, verifier):
    assert verifier.verify(forge()) == Principal("alice", ("photographers",))


NOW = datetime.now(UTC)
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
BAD_TOKENS = {
    "expired": ({"iat": NOW - timedelta(hours=2), "exp": NOW - timedelta(hours=1)}, "Expired"),
    "not yet valid": ({"nbf": NOW + timedelta(hours=1)}, "not yet valid"),
    "issued in the future": ({"iat": NOW + timedelta(hours=1), "exp": NOW + timedelta(hours=2)}, "not yet valid"),
    "another issuer": ({"iss": "https://evil.test"}, "issuer"),
    "another audience": ({"aud": "somebody-else"}, "Audience"),
    "no iss": ({"iss": None}, '"iss"'),
    "no aud": ({"aud": None}, '"aud"'),
    "no sub": ({"sub": None}, '"sub"'),
    "no groups": ({"groups": None}, '"groups"'),
    "no iat": ({"iat": None}, '"iat"'),
    "no exp": ({"exp": None}, '"exp"'),
    "no kid": ({"headers": {"kid": None}}, "kid"),
    "unknown kid": ({"headers": {"kid": "other"}}, "'other'"),
    "another key under our kid": ({"signed_by": OTHER_KEY}, "Signature"),
    "an empty subject": ({"sub": ""}, "sub"),
    "a subject with a line break": ({"sub": "al\nice"}, "sub"),
    "a subject with a space at its end": ({"sub": "admin "}, "sub"),
    "a subject of half a surrogate pair": ({"sub": "\ud800"}, "sub"),
    "a subject too long": ({"sub": "a" * 300}, "sub"),
    "groups as one string": ({"groups": "admins"}, "groups"),
    "a group that is a number": ({"groups": ["a", 1]}, "groups"),
    "too many groups": ({"groups": ["g"] * 201}, "groups"),
    "an endless lifetime": ({"exp": float("inf")}, ""),
    "a lifetime in words": ({"exp": "tomorrow"}, "exp"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_a_token_with_one_thing_wrong_is_refused_and_the_log_hears_which(case, forge, verifier):
    overrides, said = BAD_TOKENS[case]
    token = forge(**overrides)
    with pytest.raises(TokenRefused) as refused:
        verifier.verify(token)
    assert said.lower() in refused.value.detail.lower()
    assert token.rsplit(".", 1)[1] not in refused.value.detail


@pytest.mark.parametrize("name", sorted(RESERVED_SUBJECTS | {"ADMIN", "Postgres"}))
def test_no_token_makes_a_person_a_service(name, forge, signer, verifier):
    with pytest.raises(TokenRefused, match="reserved"):
        verifier.verify(forge(sub=name))
    with pytest.raises(ValueError, match="reserved"):
        signer.token(name)


def test_alg_none_is_refused_signed_or_not(verifier, jwks):
    kid = json.loads(jwks.read_text())["keys"][0]["kid"]
    for alg in ("none", "None", "NONE"):
        with pytest.raises(TokenRefused, match="alg"):
            verifier.verify(_raw_token({"alg": alg, "typ": "JWT", "kid": kid}, _good_claims()))


def test_hs256_keyed_with_the_public_key_is_refused(tmp_path, verifier, jwks):
    """The classic confusion: a verifier that lets the token choose would take the public key for a shared secret."""
    private = serialization.load_pem_private_key((tmp_path / "secrets/signer.key").read_bytes(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    kid = json.loads(jwks.read_text())["keys"][0]["kid"]
    unsigned = _raw_token({"alg": "HS256", "typ": "JWT", "kid": kid}, _good_claims()).rstrip(".")
    mac = hmac.digest(public, unsigned.encode(), hashlib.sha256)
    with pytest.raises(TokenRefused, match="alg"):
        verifier.verify(f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_a_key_sent_inside_the_token_is_not_believed(forge, verifier):
    numbers = OTHER_KEY.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    own = {"jwk": {"kty": "EC", "crv": "P-256", "x": x, "y": y}, "kid": "mine"}
    with pytest.raises(TokenRefused):
        verifier.verify(forge(headers=own, signed_by=OTHER_KEY))


def test_one_flipped_character_anywhere_is_refused(signer, verifier):
    token = signer.token("alice", ["photographers"])
    # The last character of a part may hold bits that base64 throws away; every other one counts.
    for index in range(0, len(token) - 1, 7):
        other = "A" if token[index] != "A" else "B"
        changed = token[:index] + other + token[index + 1 :]
        if token[index] == "." or changed[index + 1] == ".":
            continue
        with pytest.raises(TokenRefused):
            verifier.verify(changed)


def _nested(depth: int) -> str:
    return base64.urlsafe_b64encode(b"[" * depth).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "no token at all", "x" * (LARGEST_TOKEN + 1), "é.é.é", f"{_nested(5000)}.e30.AA", "\x00"],
    ids=["empty", "dot", "dots", "letters", "words", "huge", "non-ASCII", "nested 5,000 deep", "NUL"],
)
def test_what_is_no_token_is_refused_and_never_an_error_of_the_server(token, verifier):
    with pytest.raises(TokenRefused):
        verifier.verify(token)


def test_a_huge_token_is_refused_before_it_is_read(forge, verifier):
    with pytest.raises(TokenRefused, match=str(LARGEST_TOKEN)):
        verifier.verify(forge(padding="x" * LARGEST_TOKEN))


def test_without_a_jwks_file_no_token_is_judged_and_the_service_is_not_ready(tmp_path, signer):
    verifier = TokenVerifier(tmp_path / "away.json", ISSUER, AUDIENCE)
    with pytest.raises(JwksUnavailable, match=r"away\.json"):
        verifier.ready()
    with pytest.raises(JwksUnavailable):
        verifier.verify(signer.token("alice"))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}']
)
def test_a_jwks_file_without_a_key_of_ours_is_no_jwks(content, tmp_path):
    (tmp_path / "jwks.json").write_bytes(content)
    with pytest.raises(JwksUnavailable):
        TokenVerifier(tmp_path / "jwks.json", ISSUER, AUDIENCE).ready()


def test_a_jwks_file_that_leaks_the_private_key_is_refused(tmp_path, jwks):
    document = json.loads(jwks.read_text())
    document["keys"][0]["d"] = "AAAA"
    jwks.write_text(json.dumps(document))
    with pytest.raises(JwksUnavailable, match="private"):
        TokenVerifier(jwks, ISSUER, AUDIENCE).ready()


def test_a_rotated_key_is_taken_up_without_a_restart_and_the_old_one_is_dropped(tmp_path, signer, jwks, verifier):
    old = signer.token("alice")
    assert verifier.verify(old).subject == "alice"
    next_jwks = tmp_path / "next/jwks.json"
    successor = Signer(tmp_path / "next/signer.key", next_jwks, ISSUER, AUDIENCE)
    successor.initialise()
    os.replace(next_jwks, jwks)
    assert verifier.verify(successor.token("alice")).subject == "alice"
    with pytest.raises(TokenRefused, match="kid"):
        verifier.verify(old)


def test_the_private_key_is_its_owners_alone_and_survives_a_second_start(tmp_path, signer, verifier):
    key = tmp_path / "secrets/signer.key"
    before = key.read_bytes()
    token = signer.token("alice")
    signer.initialise()
    assert key.read_bytes() == before
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert verifier.verify(token).subject == "alice"


def test_a_signer_without_a_key_says_what_to_do(tmp_path):
    signer = Signer(tmp_path / "none.key", tmp_path / "jwks.json", ISSUER, AUDIENCE)
    with pytest.raises(SignerNotReady, match="darkroom up"):
        signer.token("alice")
    with pytest.raises(SignerNotReady):
        (tmp_path / "none.key").write_text("no PEM")
        signer.token("alice")


def test_a_lifetime_of_nothing_is_refused(signer):
    with pytest.raises(ValueError, match="some time"):
        signer.token("alice", ttl=timedelta(0))
