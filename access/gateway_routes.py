"""The policy's routes as Envoy's: what fits, who may, how often, how large, and what is tried again. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from access.gateway_filters import BODY, CLAIMS, JWT, PEOPLE, RATE, RBAC, SESSION, SMALL_BODY, typed
from access.policy import REPEATABLE, Route

HEALTHY = "/healthz"
BURST = 10
MOST_KNOWN = 20_000
"""Users or addresses whose rates are held at once; the least recent are forgotten."""
ANSWER_SECONDS = 60
WEBSOCKET_IDLE_SECONDS = 120
TRIES_AGAIN = 2
# A request that never began to be answered by anybody may go to another instance, whatever it is.
_ALWAYS = "connect-failure,refused-stream"
_REPEATABLE = f"{_ALWAYS},reset,retriable-status-codes"
_ANYBODY = {"permissions": [{"any": True}], "principals": [{"any": True}]}
_NOBODY = {"not_id": {"any": True}}


def virtual_host(routes: Sequence[Route], repeat_bytes: int) -> dict[str, Any]:
    """The one virtual host: the routes in order, then what no route takes."""
    found = [_direct("healthy", {"path": HEALTHY}, 200)]
    other_methods = []
    for route in sorted(routes, key=lambda one: one.path.endswith("/*")):  # the exact before what is below
        beside = [one for one in routes if one.path == route.path]
        alike = [one for one in beside if one.methods == route.methods]
        found.append(_route(route, repeat_bytes, by_group=len(alike) > 1))
        if len(alike) > 1 and route is alike[-1]:
            found.append(_nobodys(route, repeat_bytes))
        if route is beside[-1]:
            other_methods.append(_direct(f"{route.path} (method)", _path(route.path), 405))
    found += other_methods
    found.append(_direct("none", {"prefix": "/"}, 404))
    return {
        "name": "darkroom",
        "domains": ["*"],
        "routes": found,
        # A client's word for who it is, or for how its request is to be treated, is none.
        "request_headers_to_remove": ["x-forwarded-client-cert", "x-forwarded-host", "x-real-ip", "forwarded"],
    }


def _nobodys(route: Route, repeat_bytes: int) -> dict[str, Any]:
    """Where several services share a path by group: whose token is not known yet, and who is in none of the groups.

    The token is verified here, and the route is then chosen again; whoever stays is refused.
    """
    found = _route(route, repeat_bytes)
    found["typed_per_filter_config"][RBAC] = _rbac({"permissions": [{"any": True}], "principals": [_NOBODY]})
    return {**found, "name": f"{found['name']} (nobody's)"}


def _route(route: Route, repeat_bytes: int, *, by_group: bool = False) -> dict[str, Any]:
    verbs = "|".join(route.methods)
    found: dict[str, Any] = {
        "name": f"{verbs} {route.path}",
        "match": {
            **_path(route.path),
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": verbs}}}],
            **({"dynamic_metadata": [_of_one(route.groups)]} if by_group else {}),
        },
        "route": {
            "cluster": route.service,
            "timeout": "0s" if route.websocket else f"{ANSWER_SECONDS}s",
            # A browser's socket does not look at its token again: it begins anew, and the session is looked up.
            **({"max_stream_duration": {"max_stream_duration": "60s"}} if route.websocket and route.browser else {}),
            "idle_timeout": f"{WEBSOCKET_IDLE_SECONDS}s" if route.websocket else f"{ANSWER_SECONDS}s",
            "retry_policy": _retries(route),
            **({"upgrade_configs": [{"upgrade_type": "websocket"}]} if route.websocket else {}),
        },
        "typed_per_filter_config": {
            SESSION: _session(route),
            JWT: _token(route),
            RATE: _rate(route),
            RBAC: _rights(route),
            BODY: _body(route),
        },
    }
    if route.body == "image":
        # What is tried again must be held until then.
        found["request_body_buffer_limit"] = repeat_bytes
    return found


def _direct(name: str, match: dict[str, Any], status: int) -> dict[str, Any]:
    return {
        "name": name,
        "match": match,
        "direct_response": {"status": status, **({"body": {"inline_string": "ok\n"}} if status == 200 else {})},
        "typed_per_filter_config": {
            SESSION: typed("filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True),
            JWT: typed("filters.http.jwt_authn.v3.PerRouteConfig", disabled=True),
            RBAC: _rbac(_ANYBODY),
        },
    }


def _path(path: str) -> dict[str, Any]:
    if path.endswith("/*"):
        return {"path_separated_prefix": path.removesuffix("/*")}
    if "{" not in path:
        return {"path": path}
    parts = re.split(r"\{[a-z]+\}", path)
    return {"safe_regex": {"regex": "[^/]+".join(re.escape(part) for part in parts)}}


def _session(route: Route) -> dict[str, Any]:
    """Whether a browser's cookie is looked up."""
    if not route.browser:
        return typed("filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)
    return typed("filters.http.ext_authz.v3.ExtAuthzPerRoute", check_settings={})


def _token(route: Route) -> dict[str, Any]:
    if route.everyone:
        return typed("filters.http.jwt_authn.v3.PerRouteConfig", disabled=True)
    return typed("filters.http.jwt_authn.v3.PerRouteConfig", requirement_name=PEOPLE)


def _rights(route: Route) -> dict[str, Any]:
    if route.everyone:
        return _rbac(_ANYBODY)
    return _rbac({"permissions": [{"any": True}], "principals": [_member(group) for group in route.groups]})


def _rbac(policy: dict[str, Any]) -> dict[str, Any]:
    rules = {"action": "ALLOW", "policies": {"route": policy}}
    return typed("filters.http.rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _member(group: str) -> dict[str, Any]:
    return {"sourced_metadata": {"metadata_source": "DYNAMIC", "metadata_matcher": _of_one([group])}}


def _of_one(groups: Sequence[str]) -> dict[str, Any]:
    """What fits a token with one of these groups."""
    exact = [{"string_match": {"exact": group}} for group in groups]
    one = exact[0] if len(exact) == 1 else {"or_match": {"value_matchers": exact}}
    return {"filter": JWT, "path": [{"key": CLAIMS}, {"key": "groups"}], "value": {"list_match": {"one_of": one}}}


def _rate(route: Route) -> dict[str, Any]:
    if route.everyone:
        key, action = "remote_address", {"remote_address": {}}
    else:
        where = {"key": JWT, "path": [{"key": CLAIMS}, {"key": "sub"}]}
        key, action = "user", {"metadata": {"descriptor_key": "user", "metadata_key": where, "source": "DYNAMIC"}}
    everything = {"numerator": 100, "denominator": "HUNDRED"}
    return typed(
        "filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rate",
        filter_enabled={"default_value": everything},
        filter_enforced={"default_value": everything},
        # Of whoever has no name or address to be known by, all together.
        token_bucket=_bucket(route.rate),
        descriptors=[{"entries": [{"key": key}], "token_bucket": _bucket(route.rate)}],
        rate_limits=[{"actions": [action]}],
        max_dynamic_descriptors=MOST_KNOWN,
        always_consume_default_token_bucket=False,
    )


def _bucket(rate: int) -> dict[str, Any]:
    return {"max_tokens": rate * BURST, "tokens_per_fill": rate, "fill_interval": "1s"}


def _body(route: Route) -> dict[str, Any]:
    if route.websocket or route.body == "image":
        # Passed on as it arrives: services count its bytes, and hold a bounded sum of them.
        return typed("filters.http.buffer.v3.BufferPerRoute", disabled=True)
    # Held whole before a service sees it, so that a slow sender holds none.
    # Envoy takes no 0 for a body that may not be.
    most = SMALL_BODY if route.body == "form" else 1
    return typed("filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": most})


def _retries(route: Route) -> dict[str, Any]:
    harmless = route.repeatable or REPEATABLE.issuperset(route.methods)
    return {
        "retry_on": _REPEATABLE if harmless and not route.websocket else _ALWAYS,
        "num_retries": TRIES_AGAIN,
        **({"retriable_status_codes": [503]} if harmless else {}),
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 3,
        # Whoever is tried again is tried at the next site, where there is one: the first may be gone as a whole.
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": typed("retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=2),
        },
    }
