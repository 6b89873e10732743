"""Signing in at an outside OpenID provider, which stands in here, over TLS: who gets in by it, and who does not."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from resources.openid import OpenId, OpenIdRefused
from resources.settings import Settings
from services.signin.people import COOKIE
from services.signin.provider import CHALLENGE
from tests.openid_stand_in import CLIENT, ProviderStandIn, provider
from tests.services.signing_in import JSON, House

Scene = Callable[[httpx.AsyncClient], Awaitable[Any]]


class Outside(House):
    """Sign-in that believes a provider."""

    def __init__(self, folder: Path, standing: ProviderStandIn, settings: dict[str, Any]) -> None:
        self.standing = standing
        self.given = settings
        super().__init__(folder, provider=OpenId(Settings(home=folder, **settings)))

    def play(self, scene: Scene) -> Any:
        async def playing() -> Any:
            async with self.client() as client:
                return await scene(client)

        return asyncio.run(playing())

    async def there_and_back(self, client: httpx.AsyncClient, goal: str = "/dagster/") -> httpx.Response:
        """As a browser does it: to the provider, and with its answer back."""
        left = await client.get("/signin/openid", params={"next": goal})
        assert left.status_code == 303, left.text
        return await client.get(await self.consent(left.headers["location"]))

    async def consent(self, place: str) -> str:
        """Where the provider sends the browser."""
        trust = ssl.create_default_context(cafile=str(self.given["openid_ca"]))
        async with httpx.AsyncClient(verify=trust, trust_env=False) as browser:
            return (await browser.get(place)).headers["location"]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with provider(tmp_path / "provider") as (standing, settings):
        yield Outside(tmp_path / "home", standing, settings)


def test_a_person_of_the_provider_is_signed_in_with_the_directorys_groups(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        return await outside.there_and_back(client), await client.post("/v1/token")

    back, token = outside.play(scene)
    assert (back.status_code, back.headers["location"]) == (303, "/dagster/")
    cookies = back.headers.get_list("set-cookie")
    assert any(one.startswith(f"{COOKIE}=") and "HttpOnly" in one and "Secure" in one for one in cookies)
    assert any(one.startswith(f'{CHALLENGE}=""') for one in cookies), "what the browser kept is gone"
    principal = outside.verifier.judge(token.json()["token"]).principal
    assert (principal.subject, principal.groups) == ("ada", ("sales",))
    (used,) = outside.standing.used
    assert len(used["code_verifier"]) >= 43


def test_a_group_that_was_left_and_a_person_who_was_removed_act_as_with_a_password(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> list[httpx.Response]:
        await outside.there_and_back(client)
        outside.people.groups["ada"] = ("analytics",)
        moved = await client.post("/v1/token")
        del outside.people.groups["ada"]
        return [moved, await client.post("/v1/token")]

    moved, removed = outside.play(scene)
    assert moved.json()["groups"] == ["analytics"]
    assert removed.status_code == 401


def test_the_page_leads_there_and_no_password_counts(outside: Outside) -> None:
    page, session, form, machine = outside.ask(
        lambda client: client.get("/", params={"next": "/mlflow/"}),
        lambda client: client.post("/v1/session", json=JSON),
        lambda client: client.post("/signin", data=JSON, headers={"sec-fetch-site": "same-origin"}),
        lambda client: client.post(
            "/v1/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_id": "upload-bot",
                "client_secret": JSON["password"],
            },
        ),
    )
    assert 'href="/signin/openid?next=%2Fmlflow%2F"' in page.text and "Sign in at 127.0.0.1" in page.text
    assert 'type="password"' not in page.text
    assert session.status_code == 403 and session.json()["type"].endswith("sign_in_elsewhere")
    assert form.status_code == 403 and not outside.sessions.held
    assert machine.status_code == 200, "machines are the directory's"


def elsewhere(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, rsa.generate_private_key(65537, 2048), algorithm="RS256")


BENT: dict[str, dict[str, Any]] = {
    "another nonce": {"claims": {"nonce": "another"}},
    "no nonce": {"claims": {"nonce": None}},
    "another issuer": {"claims": {"iss": "https://elsewhere.example"}},
    "for another client": {"claims": {"aud": "another"}},
    "for several, given to another": {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
    "expired": {"claims": {"exp": datetime.now(UTC) - timedelta(hours=1)}},
    "not yet": {"claims": {"iat": datetime.now(UTC) + timedelta(hours=1)}},
    "without an end": {"claims": {"exp": None}},
    "no name": {"claims": {"preferred_username": None}},
    "a name that is none": {"claims": {"preferred_username": ["ada"]}},
    "a service's name": {"claims": {"preferred_username": "admin"}},
    "nobody of the directory": {"claims": {"preferred_username": "eve"}},
    "by no key": {"signing": lambda claims: jwt.encode(claims, "", algorithm="none")},
    "by the client's secret": {"signing": lambda claims: jwt.encode(claims, "a secret" * 8, algorithm="HS256")},
    "by another key": {"signing": elsewhere},
    "no token": {"signing": lambda claims: None},
    "half a character for a nonce": {"claims": {"nonce": "\ud800"}},
    "half a character in the name": {"claims": {"preferred_username": "ada\ud800"}},
    "a key of no form": {"keys": [{"kty": "RSA", "kid": "\ud800", "n": 1, "e": None}, "a word"]},
}


@pytest.mark.parametrize("bent", BENT.values(), ids=BENT)
def test_what_proves_nobody_lets_nobody_in_and_is_told_to_the_log_alone(
    outside: Outside, bent: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    outside.people.groups["admin"] = ("platform-admins",)
    for name, value in bent.items():
        setattr(outside.standing, name, value)
    back = outside.play(outside.there_and_back)
    assert back.status_code == 401
    assert "You are not signed in. Try again" in back.text and "nonce" not in back.text
    assert not outside.sessions.held


def test_a_browser_that_did_not_leave_from_here_is_not_let_in(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> list[httpx.Response]:
        left = await client.get("/signin/openid")
        back = await outside.consent(left.headers["location"])
        kept = client.cookies.get(CHALLENGE)
        client.cookies.clear()
        stolen = await client.get(back)  # somebody else's answer, in a browser that never left
        client.cookies.set(CHALLENGE, kept or "", domain="darkroom.test")
        forged = await client.get(back.replace("state=", "state=x"))
        said = await client.get("/signin/openid/callback", params={"error": "access_denied", "state": "x"})
        return [stolen, forged, said]

    assert [answer.status_code for answer in outside.play(scene)] == [401, 401, 401]
    assert not outside.sessions.held


def deep_in_brackets() -> str:
    return base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=")


def half_a_character() -> str:
    kept = {"state": "\ud800", "nonce": "n", "verifier": "v", "goal": "/"}
    return base64.urlsafe_b64encode(json.dumps(kept).encode()).decode().rstrip("=")


@pytest.mark.parametrize("cookie", [deep_in_brackets, half_a_character], ids=lambda made: made.__name__)
def test_a_cookie_that_is_none_of_ours_is_one_that_never_left_from_here(
    outside: Outside, cookie: Callable[[], str]
) -> None:
    async def scene(client: httpx.AsyncClient) -> httpx.Response:
        client.cookies.set(CHALLENGE, cookie(), domain="darkroom.test")
        return await client.get("/signin/openid/callback", params={"code": "c", "state": "s"})

    assert outside.play(scene).status_code == 401


@pytest.mark.parametrize("place", ["https://[", "https:///token", "https://a\ud800.test/token", "https://a.test/\n", 5])
def test_a_provider_that_names_no_address_that_can_be_asked_is_none(outside: Outside, place: object) -> None:
    outside.standing.description = {"token_endpoint": place}
    answer = outside.play(lambda client: client.get("/signin/openid"))
    assert answer.status_code == 503 and "provider" in answer.text


def test_a_code_counts_once(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> list[int]:
        left = await client.get("/signin/openid")
        kept = client.cookies.get(CHALLENGE)
        back = await outside.consent(left.headers["location"])
        first = await client.get(back)
        client.cookies.set(CHALLENGE, kept or "", domain="darkroom.test")
        return [first.status_code, (await client.get(back)).status_code]

    assert outside.play(scene) == [303, 401]


def test_a_provider_that_is_away_or_none_is_said_and_nobody_is_let_in(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> list[httpx.Response]:
        outside.standing.away = True
        away = await client.get("/signin/openid")
        ready = await client.get("/readyz")
        outside.standing.away = False
        outside.standing.description = {"issuer": "https://elsewhere.example"}
        other = await client.get("/signin/openid")
        outside.standing.description = {"token_endpoint": "http://127.0.0.1/token"}
        plain = await client.get("/signin/openid")
        outside.standing.description = {}
        left = await client.get("/signin/openid")
        back = await outside.consent(left.headers["location"])
        outside.standing.away = True
        return [away, ready, other, plain, await client.get(back)]

    answers = outside.play(scene)
    assert [answer.status_code for answer in answers] == [503] * 5
    assert "provider" in answers[1].json()["checks"]
    assert not outside.sessions.held


def test_a_new_key_of_the_provider_is_looked_for(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.openid.AGAIN_SECONDS", 0.0)

    async def scene(client: httpx.AsyncClient) -> list[int]:
        first = await outside.there_and_back(client)
        outside.standing.rotate()
        return [first.status_code, (await outside.there_and_back(client)).status_code]

    assert outside.play(scene) == [303, 303]


def test_after_it_the_browser_stays_on_this_site(outside: Outside) -> None:
    async def scene(client: httpx.AsyncClient) -> httpx.Response:
        return await outside.there_and_back(client, "https://elsewhere.example/")

    assert outside.play(scene).headers["location"] == "/"


def test_without_a_provider_its_addresses_are_not_there(tmp_path: Path) -> None:
    left, back = House(tmp_path).ask(
        lambda client: client.get("/signin/openid"), lambda client: client.get("/signin/openid/callback")
    )
    assert (left.status_code, back.status_code) == (404, 404)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"openid_issuer": "http://127.0.0.1/realm"}, "an address https://"),
        ({"openid_issuer": "https://127.0.0.1/realm", "openid_client_id": ""}, "openid_client_id is empty"),
    ],
)
def test_settings_that_cannot_be_are_said_at_the_start(tmp_path: Path, wrong: dict[str, str], why: str) -> None:
    with pytest.raises(OpenIdRefused, match=why):
        OpenId(Settings(home=tmp_path, **{"openid_client_id": "x", **wrong}))
