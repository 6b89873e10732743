"""The policy's routes beside the services' own, and what cannot be said in it; no gateway runs."""

from __future__ import annotations

import pytest

from access.gateway_problems import PREFIX, PROBLEMS
from access.policy import PolicyError, Route, load_policy, parse_policy
from services.door.problems import PREFIX as DOORS_PREFIX
from services.door.problems import Kind


def test_problems_that_both_have_are_called_the_same() -> None:
    assert PREFIX == DOORS_PREFIX
    doors = {kind.code: (kind.status, kind.title) for kind in Kind}
    same = {kind: (status, title) for status, (kind, title, _) in PROBLEMS.items() if kind in doors}
    assert same == {kind: doors[kind] for kind in same}
    assert {"unauthenticated", "not_found", "body_too_large"} <= same.keys()


def test_every_route_of_the_policy_is_a_services_own_and_the_other_way_round() -> None:
    """Bug prevented: a route that was renamed in a service and not in the policy is not there any more."""
    from starlette.routing import WebSocketRoute

    from resources.settings import Settings
    from services.signin.app import create_app as signin_app
    from services.streams.app import create_app as streams_app
    from services.uploads.app import create_app as uploads_app

    made = {"signin": signin_app, "uploads": uploads_app}
    there = {
        (name, path, method.upper())
        for name, make in made.items()
        for path, methods in make(Settings()).openapi()["paths"].items()
        for method in methods
    }
    # What a service's own description leaves out: the forms of the page, WebSockets, and the description itself.
    there |= {("signin", path, "POST") for path in ("/signin", "/signout")}
    sockets = [route.path for route in streams_app(Settings()).routes if isinstance(route, WebSocketRoute)]
    there |= {("streams", path, "GET") for path in sockets}
    pages = {("uploads", path, "GET") for path in ("/docs", "/redoc", "/openapi.json", "/static-offline-docs/*")}
    routes = [route for route in load_policy().routes if not route.service.startswith(("dagster", "mlflow"))]
    said = {(route.service, route.path, method) for route in routes for method in route.methods}
    own = {one for one in there if one[1] in ("/healthz", "/readyz", "/metrics")}
    assert len(own) == 6 and said == there - own | pages


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{path: /a, service: b, methods: [GET], rate: 1}", "for some groups, or for everyone"),
        ("{path: /a, service: b, methods: [GET], rate: 1, everyone: true, groups: [g]}", "for some groups"),
        ("{path: /a, service: b, methods: [GET], rate: 1, groups: [h]}", "for groups that are not there: h"),
        ("{path: /a/../b, service: b, methods: [GET], rate: 1, groups: [g]}", "path"),
        ("{path: a, service: b, methods: [GET], rate: 1, groups: [g]}", "path"),
        ("{path: /a, service: b, methods: [FETCH], rate: 1, groups: [g]}", "'GET'"),
        ("{path: /a, service: b, methods: [POST], rate: 1, groups: [g], websocket: true}", "begins with GET"),
        ("{path: /a, service: b, methods: [GET], rate: 0, groups: [g]}", "rate"),
    ],
)
def test_a_slip_in_a_route_is_an_error_that_says_what_would_be_right(line: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        parse_policy(f"identities: {{}}\ngroups: {{g: {{note: n}}}}\nroutes:\n  - {line}\n")


def test_a_route_without_a_word_on_who_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="everyone"):
        Route(path="/a", service="b", methods=("GET",), rate=1)
