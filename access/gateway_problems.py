"""What the gateway says where it answers itself: problem documents (RFC 9457) like the services'. Pure.

Why a token was refused is in the log and not here, so that nobody learns to forge by asking.
"""

from __future__ import annotations

from typing import Any

PREFIX = "urn:darkroom:problem:"
REQUEST = "%REQ(X-REQUEST-ID)%"

PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: ("bad_request", "The request cannot be read", "Its headers, path or body are not as HTTP has them."),
    401: (
        "unauthenticated",
        "A valid bearer token is required",
        "Send a token of the issuer as `Authorization: Bearer <token>`; POST /v1/session gives one.",
    ),
    403: ("forbidden", "Your groups do not allow this", "`darkroom access explain` says which group would."),
    404: ("not_found", "There is no such thing, or it is not yours", "No route of the gateway has this address."),
    405: ("method_not_allowed", "This address does not take this method", "Its routes name the methods that it takes."),
    408: ("too_slow", "The body did not arrive in time", "Send it again over a better connection."),
    413: ("body_too_large", "The request's body is too large", "Send less at a time."),
    426: ("upgrade_required", "This address takes WebSockets only", "Begin with a handshake (RFC 6455)."),
    429: ("too_many_requests", "Too many requests at once", "Send fewer a second; this one may be sent again."),
    431: ("headers_too_large", "The request's headers are too large", "Send fewer or shorter headers."),
    501: ("not_implemented", "The request asks for what is not spoken here", "Send a body by its length or in chunks."),
    502: ("service_broke", "The service broke the connection", "Try again."),
    503: ("service_away", "No instance of the service answers", "Try again."),
    504: ("service_slow", "The service did not answer in time", "Try again."),
}
"""Type, title and detail by status."""
_RETRY = {429: "1", 502: "1", 503: "2", 504: "2"}
PAGES = (403, 404, 429, 502, 503, 504)
"""What a browser may run into, and is told as a page."""
_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Darkroom</title></head>
<body><main><h1>{title}</h1><p>{detail}</p><p><a href="/">Who you are signed in as</a></p>
<p><small>Request {request}</small></p></main></body></html>
"""
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
    "cache-control": "no-store",
}


def local_replies() -> dict[str, Any]:
    """`local_reply_config` of the connection manager."""
    mappers = [_refused_audience(), *(_mapper(status) for status in PROBLEMS)]
    return {"mappers": [*(_page(status) for status in PAGES), *mappers]}


def _page(status: int) -> dict[str, Any]:
    """The same for whoever asked for a page, a browser."""
    found = _mapper(status)
    asks = {"header_filter": {"header": {"name": "accept", "string_match": {"contains": "text/html"}}}}
    _, title, detail = PROBLEMS[status]
    said = {"text_format_source": {"inline_string": _HTML.format(title=title, detail=detail, request=REQUEST)}}
    return {
        **found,
        "filter": {"and_filter": {"filters": [found["filter"], asks]}},
        "body_format_override": {**said, "content_type": "text/html; charset=utf-8"},
    }


def _refused_audience() -> dict[str, Any]:
    """A token for somebody else is no proof of anything, and Envoy has 403 for it."""
    of_token = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": "response.code == 403 && response.code_details.startsWith('jwt_authn_access_denied')",
    }
    found = _mapper(401)
    found["filter"] = {
        "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": of_token}
    }
    return {**found, "status_code": 401}


def _mapper(status: int) -> dict[str, Any]:
    kind, title, detail = PROBLEMS[status]
    document = {
        "type": PREFIX + kind,
        "title": title,
        "status": status,
        "detail": detail,
        **({"retry_after": int(_RETRY[status])} if status in _RETRY else {}),
        "instance": f"urn:uuid:{REQUEST}",
    }
    headers = _HEADERS | ({"retry-after": _RETRY[status]} if status in _RETRY else {})
    headers |= {"www-authenticate": 'Bearer realm="darkroom"'} if status == 401 else {}
    return {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": f"problem.{status}"}}
            }
        },
        "body_format_override": {"json_format": document, "content_type": "application/problem+json"},
        "headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }
