"""The gateway as Envoy understands it: who gets in, what is refused, and how."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from access.gateway_filters import KEYS_SECONDS
from access.gateway_problems import PREFIX
from tests.envoys import AUDIENCE, ISSUER, POLICY, House, house, until


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(
        tmp_path_factory.mktemp("door") / "home", POLICY, {"signin": [1], "uploads": [2, 1], "streams": [1]}
    ) as found:
        yield found


def forged(door: House, **changed: Any) -> str:
    """A token by the house's own key, with claims changed; None takes one away."""
    now = datetime.now(UTC)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "groups": ["writers"], "iat": now}
    claims = {**claims, "exp": now + timedelta(minutes=5), **changed}
    key = (door.ca.parent.parent / "secrets" / "signer.key").read_bytes()
    kid = json.loads((door.ca.parent / "jwks.json").read_text())["keys"][0]["kid"]
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm="ES256", headers={"kid": changed.pop("kid", kid)})


def unsigned(door: House) -> str:
    return jwt.encode(jwt.decode(forged(door), options={"verify_signature": False}), "", algorithm="none")


def signed_with_the_public_key(door: House) -> str:
    """By HS256, with the published key as the secret: whoever lets a token choose its algorithm takes it."""
    key = serialization.load_pem_private_key((door.ca.parent.parent / "secrets" / "signer.key").read_bytes(), None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, claims, _ = forged(door).split(".")
    fields = json.loads(base64.urlsafe_b64decode(head + "=="))
    head = base64.urlsafe_b64encode(json.dumps({**fields, "alg": "HS256"}).encode()).rstrip(b"=").decode()
    mark = hmac.new(public, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    return f"{head}.{claims}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def by_another_key(door: House, kid: str | None = None) -> str:
    claims = jwt.decode(forged(door), options={"verify_signature": False})
    headers = {"kid": kid or jwt.get_unverified_header(forged(door))["kid"]}
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers=headers)


HOUR = timedelta(hours=1)
BAD = {
    "none": lambda door: None,
    "no token at all": lambda door: "Bearer",
    "another scheme": lambda door: "Basic ZXZlOmV2ZQ==",
    "garbage": lambda door: "Bearer a.b.c",
    "expired": lambda door: f"Bearer {forged(door, exp=datetime.now(UTC) - HOUR)}",
    "never expires": lambda door: f"Bearer {forged(door, exp=None)}",
    "not yet valid": lambda door: f"Bearer {forged(door, nbf=datetime.now(UTC) + HOUR)}",
    "another issuer": lambda door: f"Bearer {forged(door, iss='https://evil.test')}",
    "another audience": lambda door: f"Bearer {forged(door, aud='elsewhere')}",
    "no audience": lambda door: f"Bearer {forged(door, aud=None)}",
    "no issuer": lambda door: f"Bearer {forged(door, iss=None)}",
    "algorithm none": lambda door: f"Bearer {unsigned(door)}",
    "HS256 with the public key": lambda door: f"Bearer {signed_with_the_public_key(door)}",
    "another key": lambda door: f"Bearer {by_another_key(door)}",
    "an unknown kid": lambda door: f"Bearer {by_another_key(door, 'unknown')}",
    "a kid that is a path": lambda door: f"Bearer {by_another_key(door, '../../../../dev/null')}",
    "a kid that is a query": lambda door: f"Bearer {by_another_key(door, chr(39) + ' OR 1=1 --')}",
    "huge": lambda door: "Bearer " + "a" * 20_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_token_is_refused_and_only_the_log_says_why(door: House, bad: Any) -> None:
    sent = bad(door)
    with door.client() as client:
        answer = client.post("/things", content=b"x", headers={"Authorization": sent} if sent else {})
        first = client.post("/things", content=b"x")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert {**answer.json(), "instance": ""} == {**first.json(), "instance": ""}, "the same to whoever asks"
    assert answer.headers["www-authenticate"] == 'Bearer realm="darkroom"'
    assert not [one for one in door.everything() if "eve" in json.dumps(one)]


def test_the_log_tells_bad_tokens_apart_and_holds_none(door: House) -> None:
    tokens = {name: bad(door) for name, bad in BAD.items() if name in ("expired", "another issuer", "garbage")}
    with door.client() as client:
        numbers = {name: client.get("/things/1", headers={"Authorization": t}) for name, t in tokens.items()}
    asked = {name: answer.json()["instance"].removeprefix("urn:uuid:") for name, answer in numbers.items()}
    until(lambda: set(asked.values()) <= {line.get("request") for line in door.lines()})
    said = {line.get("request"): line["why"] for line in door.lines()}
    why = {name: said[number] for name, number in asked.items()}
    assert len(set(why.values())) == 3, why
    assert not [token for token in tokens.values() if token.removeprefix("Bearer ") in door.log.read_text()]


def test_a_token_in_the_address_is_none(door: House) -> None:
    with door.client() as client:
        token = door.signer.token("ada", ["writers"])
        assert client.post(f"/things?access_token={token}", content=b"x").status_code == 401


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("writers",), {"POST /things": 200, "GET /things/1": 200, "GET /pages/a/b": 403}),
        (("readers",), {"POST /things": 403, "GET /things/1": 200, "GET /pages/a/b": 200}),
        (("writers", "readers"), {"POST /things": 200, "GET /things/1": 200, "GET /pages/a/b": 200}),
        (("strangers",), {"POST /things": 403, "GET /things/1": 403, "GET /pages/a/b": 403}),
        ((), {"POST /things": 403, "GET /things/1": 403, "GET /pages/a/b": 403}),
        (("writers2", "Writers", "writ"), {"POST /things": 403, "GET /things/1": 403}),
    ],
)
def test_a_group_opens_its_routes_and_no_other(door: House, groups: tuple[str, ...], expected: dict[str, int]) -> None:
    headers = door.bearer(f"p-{uuid.uuid4().hex[:8]}", *groups)
    with door.client() as client:
        for line, status in expected.items():
            method, path = line.split()
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == status, (line, answer.text)
            if status == 403:
                assert answer.json()["type"] == "urn:darkroom:problem:forbidden"


def test_what_no_route_names_is_not_there(door: House) -> None:
    headers = door.bearer("ada", "writers", "readers")
    with door.client() as client:
        for path in ("/", "/metrics", "/readyz", "/thing", "/things/", "/things/a/b", "/pagesx", "/open/x", "/stats"):
            assert client.get(path, headers=headers).status_code == 404, path
        refused = client.delete("/things", headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (405, f"{PREFIX}method_not_allowed")
        assert client.get("/healthz").text == "ok\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/pages/../things/1", 403),  # becomes /things/1, which strangers may not
        (b"/pages/%2e%2e/things/1", 403),
        (b"/pages/..;/things/1", 403),
        (b"//things///1", 403),
        (b"/pages/a%2fb", 400),
        (b"/pages/a%5cb", 400),
        (b"/pages/a\\..\\..\\b", 404),
        (b"/pages/%00", 400),
        (b"/things/1%20HTTP/1.1", 404),
        (b"/../../etc/passwd", 404),
    ],
)
def test_path_tricks_reach_no_service(door: House, path: bytes, status: int) -> None:
    before = len(door.everything())
    headers = door.bearer("mallory", "strangers")
    with door.client() as client:
        answer = client.get(httpx.URL(door.url).copy_with(raw_path=path), headers=headers)
    assert (answer.status_code, len(door.everything())) == (status, before), answer.text


def test_a_clients_word_for_who_and_whence_it_is_does_not_count(door: House) -> None:
    spoofed = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Client-Cert": "By=spiffe://admin",
        "X-Forwarded-Host": "evil.test",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X-Request-Id": "11111111-1111-1111-1111-111111111111",
        "X-Envoy-Retry-On": "5xx",
        "X-Envoy-Upstream-Rq-Timeout-Ms": "1",
    }
    with door.client() as client:
        answer = client.post("/things", content=b"x", headers={**door.bearer("ada", "writers"), **spoofed})
    assert answer.status_code == 200
    reached = [dict(one["headers"]) for one in door.everything()]
    (seen,) = [one for one in reached if one["x-request-id"] == answer.headers["x-request-id"]]
    assert seen["x-forwarded-for"].rpartition(",")[2].strip() != "6.6.6.6", "what the gateway appended is last"
    assert seen["x-request-id"] != spoofed["X-Request-Id"]
    assert seen["x-request-id"] == str(uuid.UUID(seen["x-request-id"]))
    gone = {"x-forwarded-client-cert", "x-forwarded-host", "x-real-ip", "forwarded", "x-envoy-retry-on"}
    assert not gone & seen.keys()


@pytest.mark.parametrize(
    ("groups", "service"),
    [
        (["writers"], "uploads"),
        (["readers"], "streams"),
        (["readers", "writers"], "uploads"),
        (["others"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("by", ["token", "cookie"])
def test_a_path_that_services_share_is_answered_by_the_groups_own(
    door: House, groups: list[str], service: str | None, by: str
) -> None:
    token = door.signer.token("ada", groups)
    headers = {"Cookie": f"session={token}"} if by == "cookie" else {"Authorization": f"Bearer {token}"}
    with door.client() as client:
        for method in ("GET", "POST"):
            answer = client.request(method, "/ui/a/b", headers=headers)
            if service is None:
                assert (answer.status_code, answer.json()["type"]) == (403, f"{PREFIX}forbidden")
            else:
                assert answer.json()["instance"].startswith(service), answer.text


def test_a_browser_without_a_session_is_sent_to_sign_in_and_others_are_told(door: House) -> None:
    with door.client() as client:
        sent = client.get("/ui/a?b=c", headers={"Accept": "text/html,*/*"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/?next=/ui/a?b=c")
        told = client.post("/ui/a")
        assert (told.status_code, told.json()["type"]) == (401, f"{PREFIX}unauthenticated")
        forged = {"Cookie": f"session={by_another_key(door)}"}
        assert client.get("/ui/a", headers=forged).status_code == 401
        refused = client.get("/ui/a", headers={**door.bearer("ada", "others"), "Accept": "text/html"})
        assert refused.headers["content-type"] == "text/html; charset=utf-8"
        assert "Your groups do not allow this" in refused.text
        assert (
            client.get("/things/1", headers={"Cookie": f"session={door.signer.token('ada', ['readers'])}"}).status_code
            == 401
        ), "a cookie opens pages only"


def test_without_sign_in_no_browser_gets_in_and_who_has_a_token_is_served(tmp_path: Path) -> None:
    with house(tmp_path / "home", POLICY, {"signin": [1], "uploads": [1], "streams": [1]}) as door:
        door.sites["signin"][0][0].close()
        headers = door.bearer("ada", "writers")
        with door.client() as client:
            cookie = {"Cookie": f"session={door.signer.token('ada', ['writers'])}"}
            until(lambda: client.get("/ui/a", headers=cookie).status_code == 503)
            # Longer than keys are kept without being fetched again.
            time.sleep(KEYS_SECONDS + 2)
            assert client.post("/things", content=b"x", headers=headers).status_code == 200


SMUGGLED = b"POST /open HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = {
    "two lengths": SMUGGLED + b"Content-Length: 3\r\nContent-Length: 40\r\n\r\nabc",
    "a length and chunks": SMUGGLED + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks by another name": SMUGGLED + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": SMUGGLED + b"Content-Length : 3\r\n\r\nabc",
    "a length with a sign": SMUGGLED + b"Content-Length: +3\r\n\r\nabc",
    "a NUL in a header": SMUGGLED + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "a chunk of no size": SMUGGLED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "an underscore": SMUGGLED + b"X_A: b\r\nContent-Length: 0\r\n\r\n",
    "no host": b"GET /open HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING)
def test_what_two_servers_could_read_differently_is_refused(door: House, raw: bytes) -> None:
    before = len(door.everything())
    with connected(door) as stream:
        stream.sendall(raw)
        stream.settimeout(15)
        said = stream.recv(4096)
    assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), said[:200]
    assert len(door.everything()) == before


def test_slow_senders_hold_no_service_and_the_others_are_served(door: House) -> None:
    """Each of 60 sends a form of which no end comes; sign-in is asked meanwhile, and sees none of theirs."""
    before = len(door.everything())
    slow = [connected(door) for _ in range(60)]
    try:
        for stream in slow:
            stream.sendall(b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nslow")
        with door.client() as client:
            assert client.get("/healthz").status_code == 200
            answer = client.post("/orders", content=b"quick", headers=door.bearer("ada", "writers"))
        assert answer.status_code == 200
        assert len(door.everything()) == before + 1
    finally:
        for stream in slow:
            stream.close()


def test_a_form_is_bounded_whatever_it_announces(door: House) -> None:
    headers = door.bearer("ada", "writers")
    with door.client() as client:
        assert client.post("/orders", content=b"x" * 60_000, headers=headers).status_code == 200
        for content in (b"x" * 70_000, (b"x" * 10_000 for _ in range(100))):
            answer = client.post("/orders", content=content, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (413, f"{PREFIX}body_too_large")
        assert client.post("/things", content=b"x" * 300_000, headers=headers).status_code == 200


def test_rates_are_a_users_own_and_an_addresses_where_everyone_may(door: House) -> None:
    with door.client() as client:
        eager, calm = door.bearer("eager", "readers"), door.bearer("calm", "readers")
        answers = [client.get("/things/1", headers=eager) for _ in range(60)]
        refused = [one for one in answers if one.status_code == 429]
        assert 0 < len(refused) <= 30, "ten seconds' worth may come at once"
        assert refused[0].headers["retry-after"] == "1" and refused[0].json()["type"].endswith("too_many_requests")
        assert client.get("/things/1", headers=calm).status_code == 200
        known = [client.get("/open").status_code for _ in range(30)]
        assert 429 in known and known[0] == 200
        assert client.get("/pages/1", headers=eager).status_code == 200, "each route has its own"


def test_tls_below_1_2_and_plain_http_are_not_spoken(door: House) -> None:
    old = ssl.create_default_context(cafile=str(door.ca))
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{door.url}/healthz", verify=old, trust_env=False)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{door.url}/healthz".replace("https", "http"), trust_env=False)


def test_a_service_lets_nobody_in_but_the_gateway(door: House) -> None:
    (one,), tls = door.sites["uploads"][1], door.ca.parent
    address = f"https://127.0.0.1:{one.address.port}/readyz"
    for shown in (None, "signin", "gateway"):
        context = ssl.create_default_context(cafile=str(door.ca))
        if shown is not None:
            context.load_cert_chain(tls / f"{shown}.crt", tls / f"{shown}.key")
        with pytest.raises(httpx.TransportError):
            httpx.get(address, verify=context, trust_env=False)
    context = ssl.create_default_context(cafile=str(door.ca))
    context.load_cert_chain(tls / "hop.crt", tls / "hop.key")
    assert httpx.get(address, verify=context, trust_env=False).status_code == 200


def test_both_instances_serve_and_the_second_site_waits(door: House) -> None:
    headers = door.bearer("ada", "writers")
    with door.client() as client:
        names = {client.post("/orders", content=b"x", headers=headers).json()["instance"] for _ in range(40)}
    assert names == {"uploads-0-0", "uploads-0-1"}


def connected(door: House) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(door.ca))
    plain = socket.create_connection(("127.0.0.1", urlsplit(door.url).port or 0), 5)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")
