"""Person by enforcement point by verb, generated from the policy and tried on the running stack.

Each group has a person of the directory, who signs in at the gateway. What the policy gives is let through, whatever
the service then says of a request that asks for nothing there is; what it does not give is refused.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from access.dagster_roles import Role, may, role_of
from access.policy import Route, load_policy
from tests.dagster_documents import documents
from tests.live_stack import LiveStack

pytestmark = pytest.mark.stack

POLICY = load_policy()
NOBODY = "nobody"
"""Somebody of the directory who is in no group."""
STRANGER = "stranger"
"""Who has not signed in."""
WHO = [*POLICY.groups, NOBODY, STRANGER]
HARMLESS = {"setNuxSeen"}
"""Of Dagster's mutations, those that may really be called here; of the others it is tried that they are refused."""


@pytest.fixture(scope="module")
def people(stack: LiveStack) -> Iterator[dict[str, httpx.Client]]:
    """A client of each, signed in by LDAP."""
    trust = ssl.create_default_context(cafile=stack.ca)
    with ExitStack() as opened:
        clients = {}
        for who in WHO:
            client = opened.enter_context(httpx.Client(base_url=stack.url, verify=trust, timeout=30, trust_env=False))
            if who != STRANGER:
                name, password = opened.enter_context(stack.person(*([who] if who != NOBODY else [])))
                told = client.post("/v1/session", json={"name": name, "password": password}).raise_for_status().json()
                client.headers["X-Session"] = told["session"]
            clients[who] = client
        yield clients


def ask(client: httpx.Client, method: str, path: str, **more: object) -> httpx.Response:
    """One request, with a token that is renewed in time: they are good for a minute."""
    if (session := client.headers.get("X-Session")) and time.monotonic() > float(client.headers.get("X-Until", "0")):
        told = client.post("/v1/token", headers={"Authorization": f"Bearer {session}"}).raise_for_status().json()
        client.headers.update({"Authorization": f"Bearer {told['token']}", "X-Until": str(time.monotonic() + 30)})
    return client.request(method, path, **more)  # type: ignore[arg-type]


def expected(who: str, route: Route, method: str) -> int | None:
    """The refusal that somebody is to get; None where the policy lets them through."""
    beside = [one for one in POLICY.routes if one.path == route.path and method in one.methods]
    if any(one.everyone or who in one.groups for one in beside):
        return None
    return 401 if who == STRANGER else 403


ROUTES = sorted({(route.path, method): route for route in POLICY.routes for method in route.methods}.items())


@pytest.mark.parametrize(("line", "route"), ROUTES, ids=[f"{method} {path}" for (path, method), _ in ROUTES])
def test_a_route_lets_those_through_whom_the_policy_names(
    people: dict[str, httpx.Client], line: tuple[str, str], route: Route
) -> None:
    path, method = line
    asked = path.replace("{id}", "a" * 26).replace("/*", "/nothing")
    answers = {}
    for who, client in people.items():
        answer = ask(client, method, asked, **({"content": b""} if method in ("POST", "PUT") else {}))
        answers[who] = answer.status_code if answer.status_code in (401, 403) else None
    if route.everyone:
        # A service of everyone's may ask for a session itself.
        assert 403 not in answers.values()
        return
    assert answers == {who: expected(who, route, method) for who in WHO}


@pytest.mark.parametrize("who", WHO)
def test_dagsters_mutations_are_those_of_the_role(people: dict[str, httpx.Client], who: str) -> None:
    role = role_of(POLICY.dagster, [who])
    for mutation, document in documents().items():
        allowed = may(POLICY.dagster, role, mutation)
        if allowed and mutation not in HARMLESS:
            continue
        answer = ask(people[who], "POST", "/dagster/graphql", json={"query": document})
        if allowed:
            assert answer.status_code == 200, (mutation, answer.text)
        else:
            assert answer.status_code == (401 if who == STRANGER else 403), (mutation, answer.text)
            assert ("is for" in answer.text or "nobody may" in answer.text) is (role is not Role.NOBODY)


@pytest.mark.parametrize("who", WHO)
def test_the_buttons_that_dagster_shows_are_those_of_the_role(people: dict[str, httpx.Client], who: str) -> None:
    role = role_of(POLICY.dagster, [who])
    asked = {"query": "{ permissions { permission value } }"}
    answer = ask(people[who], "POST", "/dagster/graphql", json=asked)
    if role is Role.NOBODY:
        assert answer.status_code in (401, 403)
        return
    told = {one["permission"]: one["value"] for one in answer.json()["data"]["permissions"]}
    assert told["launch_pipeline_execution"] is (role >= Role.LAUNCHER)
    assert told["start_schedule"] is (role >= Role.ADMINISTRATOR)
