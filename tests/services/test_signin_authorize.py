"""What the gateway asks of sign-in for a browser, and what a service believes of the gateway."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from access.policy import load_policy
from services.door.behind import BehindGateway, number_of
from services.signin.app import COOKIE, pages_of
from services.signin.wiring import TOKEN_REST_SECONDS, RecentTokens
from tests.services.signing_in import PASSWORD, Clock, House, bearer

FORM = {"name": "ada", "password": PASSWORD}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_session_is_a_token_of_its_person_and_is_not_looked_up_for_each_of_a_pages_parts(house: House) -> None:
    _, *parts = house.ask(
        lambda c: c.post("/signin", data=FORM),
        *[
            lambda c, method=method: c.request(method, "/v1/authorize/dagster/a?b=c")
            for method in ("GET", "POST", "PUT")
        ],
    )
    assert [part.status_code for part in parts] == [200, 200, 200]
    (token,) = {part.headers["authorization"].removeprefix("Bearer ") for part in parts}
    assert house.verifier.verify(token).groups == ("sales",)
    assert house.people.asked == 2, "once to sign in, once for the token"


def test_without_a_session_a_page_leads_to_sign_in_and_back_and_all_else_is_401(house: House) -> None:
    page, posted, data, elsewhere = house.ask(
        lambda c: c.get("/v1/authorize/dagster/runs?a=b&c=d", headers=PAGE),
        lambda c: c.post("/v1/authorize/dagster/graphql", headers=PAGE),
        lambda c: c.get("/v1/authorize/dagster/graphql"),
        lambda c: c.get("/v1/authorize//evil.test/a", headers=PAGE),
    )
    assert (page.status_code, page.headers["location"]) == (303, "/?next=%2Fdagster%2Fruns%3Fa%3Db%26c%3Dd")
    assert [posted.status_code, data.status_code] == [401, 401]
    assert elsewhere.headers["location"] == "/?next=%2F", "no other site"


def test_a_token_of_ones_own_is_let_pass_as_it_is_for_the_gateway_to_judge(house: House) -> None:
    (answer,) = house.ask(lambda c: c.get("/v1/authorize/dagster", headers=bearer("whatever")))
    assert answer.status_code == 200 and "authorization" not in answer.headers


def test_signing_out_and_leaving_end_it(house: House) -> None:
    house.people.groups["eve"] = ("sales",)
    _, before, _, after = house.ask(
        lambda c: c.post("/signin", data={**FORM, "name": "eve"}),
        lambda c: c.get("/v1/authorize/a"),
        lambda c: c.post("/signout"),
        lambda c: c.get("/v1/authorize/a", headers={"Cookie": f"{COOKIE}=secret-0-eve"}),
    )
    assert (before.status_code, after.status_code) == (200, 401)


def test_a_token_rests_for_so_long_and_no_longer() -> None:
    clock = Clock()
    tokens = RecentTokens(clock)
    tokens.put("secret", "token")
    clock.now += TOKEN_REST_SECONDS - 1
    assert tokens.get("secret") == "token" and tokens.get("another") is None
    clock.now += 1.5
    assert tokens.get("secret") is None


def test_the_page_of_who_is_signed_in_leads_to_what_their_groups_open(house: House) -> None:
    policy = load_policy()
    assert pages_of(policy, ["sales"]) == {}
    assert pages_of(policy, ["analytics"]) == {"Dagster": "/dagster/", "MLflow": "/mlflow/"}
    house.people.groups["ada"] = ("analytics",)
    _, page = house.ask(lambda c: c.post("/signin", data=FORM), lambda c: c.get("/"))
    assert '<a href="/dagster/">Dagster</a>' in page.text


@pytest.mark.parametrize(
    ("headers", "address", "number"),
    [
        ([(b"x-forwarded-for", b"6.6.6.6, 192.0.2.9")], "192.0.2.9", None),
        ([(b"x-forwarded-for", b"6.6.6.6"), (b"x-request-id", b"not a number")], "6.6.6.6", None),
        (
            [(b"x-request-id", b"11111111-1111-4111-8111-111111111111")],
            "127.0.0.1",
            "11111111-1111-4111-8111-111111111111",
        ),
        ([], "127.0.0.1", None),
    ],
)
def test_of_the_gateways_headers_the_last_address_and_a_whole_number_count(
    headers: list[tuple[bytes, bytes]], address: str, number: str | None
) -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "http", "headers": headers, "client": ("127.0.0.1", 5)}
    asyncio.run(BehindGateway(app)(scope, None, None))  # type: ignore[arg-type]
    (found,) = seen
    assert found["client"][0] == address
    told = number_of(found)
    assert told == str(uuid.UUID(told)) and (number is None or told == number)
