"""The gateway's HTTP filters in the order in which a request passes them, and its log. Pure.

Each is off, or refuses everybody, until a route says otherwise (access.gateway_routes).
"""

from __future__ import annotations

from typing import Any

from access.tokens import LEEWAY_SECONDS

JWT = "envoy.filters.http.jwt_authn"
SESSION = "envoy.filters.http.ext_authz"
RATE = "envoy.filters.http.local_ratelimit"
RBAC = "envoy.filters.http.rbac"
BODY = "envoy.filters.http.buffer"
PEOPLE = "people"
"""Name of the requirement that a route with groups has of a token."""
CLAIMS = "claims"
KEYS_SECONDS = 10
"""Keys are fetched again five seconds before this is over (Envoy's asynchronous fetch)."""
SIGNIN = "signin"
SMALL_BODY = 64 * 1024


def typed(kind: str, **said: Any) -> dict[str, Any]:
    """A message of Envoy's API; `kind` is what follows `envoy.extensions.`."""
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **said}


def http_filters(issuer: str, audience: str) -> list[dict[str, Any]]:
    """The filters for tokens of this issuer and audience."""
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "require_expiration": True,
        "clock_skew_seconds": LEEWAY_SECONDS,
        # Only there: a token in an address would stand in logs.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        # Each service verifies it again and takes the user from it alone.
        "forward": True,
        "payload_in_metadata": CLAIMS,
        "clear_route_cache": True,
        "remote_jwks": {
            "http_uri": {"uri": "https://signin/.well-known/jwks.json", "cluster": SIGNIN, "timeout": "3s"},
            "cache_duration": {"seconds": KEYS_SECONDS},
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
        },
    }
    everything = {"numerator": 100, "denominator": "HUNDRED"}
    session = {
        "server_uri": {"uri": "https://signin", "cluster": SIGNIN, "timeout": "5s"},
        "path_prefix": "/v1/authorize",
        "authorization_request": {"allowed_headers": {"patterns": [{"exact": "cookie"}, {"exact": "accept"}]}},
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "authorization"}]}},
    }
    return [
        {
            "name": SESSION,
            "typed_config": typed(
                "filters.http.ext_authz.v3.ExtAuthz",
                transport_api_version="V3",
                http_service=session,
                # Where sign-in does not answer nobody gets in.
                failure_mode_allow=False,
                status_on_error={"code": "ServiceUnavailable"},
            ),
        },
        {
            "name": JWT,
            "typed_config": typed(
                "filters.http.jwt_authn.v3.JwtAuthentication",
                providers={SIGNIN: provider},
                requirement_map={PEOPLE: {"provider_name": SIGNIN}},
                # Which of a token's faults it was is for the log.
                strip_failure_response=True,
            ),
        },
        {
            "name": RATE,
            "typed_config": typed(
                "filters.http.local_ratelimit.v3.LocalRateLimit",
                stat_prefix="rate",
                filter_enabled={"default_value": everything},
                filter_enforced={"default_value": everything},
            ),
        },
        # Without a policy of its own a route lets nobody through.
        {"name": RBAC, "typed_config": typed("filters.http.rbac.v3.RBAC", rules={"action": "ALLOW"})},
        {"name": BODY, "typed_config": typed("filters.http.buffer.v3.Buffer", max_request_bytes=SMALL_BODY)},
        {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")},
    ]


ACCESS_LOG: dict[str, Any] = {
    "name": "stdout",
    "typed_config": typed(
        "access_loggers.stream.v3.StdoutAccessLog",
        log_format={
            # No path and no header: an id of an image, a name or a token stands in neither.
            "json_format": {
                "time": "%START_TIME%",
                "request": "%STREAM_ID%",
                "method": "%REQ(:METHOD)%",
                "route": "%ROUTE_NAME%",
                "status": "%RESPONSE_CODE%",
                "why": "%RESPONSE_CODE_DETAILS%",
                "flags": "%RESPONSE_FLAGS%",
                "milliseconds": "%DURATION%",
                "service_milliseconds": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
                "bytes_in": "%BYTES_RECEIVED%",
                "bytes_out": "%BYTES_SENT%",
                "protocol": "%PROTOCOL%",
                "tls": "%DOWNSTREAM_TLS_VERSION%",
                "instance": "%UPSTREAM_HOST%",
                "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            },
            "omit_empty_values": True,
        },
    ),
}
"""One line of JSON an exchange, on standard output."""
