"""The policy as Envoy's configuration: one listener with TLS, a filter for each question, one cluster a service. Pure.

Why compiled: what a route lets through is read off the same lines as every other right. Mechanism: the token is
verified by `jwt_authn`, and `rbac` compares its groups with the route's; a path that no route names, and a route that
forgets to say who may, refuse everybody. A service has priorities of instances: the next is used where none of the
last is healthy. What suits a mesh and not an edge is set as Envoy's guide for edges has it.

Limits: rates are one gateway's own; a token's groups are believed until it expires; an image's size is judged by the
service, which reads no further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from access.gateway_clusters import cluster
from access.gateway_edge import Edge
from access.gateway_filters import ACCESS_LOG, http_filters
from access.gateway_problems import local_replies
from access.gateway_routes import virtual_host
from access.policy import Policy
from access.tokens import LARGEST_TOKEN

HEAP_BYTES = 1024 * 1024 * 1024
MOST_CONNECTIONS = 2000
CONNECTION_BUFFER_BYTES = 32 * 1024
STREAM_WINDOW_BYTES = 256 * 1024
CONNECTION_WINDOW_BYTES = 1024 * 1024
MOST_STREAMS = 100
HEADERS_SECONDS, REQUEST_SECONDS, IDLE_SECONDS = 10, 300, 30
DRAIN_SECONDS = 5
LARGEST_HEADERS_KIB = 4 * LARGEST_TOKEN // 1024
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def gateway(policy: Policy, edge: Edge) -> dict[str, Any]:
    """Envoy's bootstrap (v3), to be written as JSON. Routes to a service that `edge` does not have are left out."""
    routes = [route for route in policy.routes if route.service in edge.backends]
    return {
        # Envoy tells it to whoever may ask (its /server_info), so that drift is found.
        "node": {"id": "darkroom-gateway", "cluster": "darkroom", "metadata": {"policy": policy.digest}},
        "admin": {"address": {"pipe": {"path": str(edge.admin), "mode": 0o600}}},
        "overload_manager": _overload(),
        "static_resources": {
            "listeners": [_listener(edge, virtual_host(routes, edge.repeat_bytes))],
            "clusters": [cluster(name, backend, edge) for name, backend in edge.backends.items()],
        },
    }


def _listener(edge: Edge, host: Mapping[str, Any]) -> dict[str, Any]:
    chain = {
        "transport_socket": {"name": "tls", "typed_config": {"@type": _TLS, **_tls(edge)}},
        "transport_socket_connect_timeout": f"{HEADERS_SECONDS}s",
        "filters": [{"name": "http", "typed_config": {"@type": _MANAGER, **_manager(edge, host)}}],
    }
    return {
        "name": "people",
        "address": {"socket_address": {"address": edge.listen.host, "port_value": edge.listen.port}},
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _tls(edge: Edge) -> dict[str, Any]:
    pair = {"certificate_chain": {"filename": str(edge.certificate)}, "private_key": {"filename": str(edge.key)}}
    return {
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [pair],
        },
    }


def _manager(edge: Edge, host: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stat_prefix": "people",
        "server_name": "darkroom",
        "use_remote_address": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
            "idle_timeout": "300s",
        },
        "http_protocol_options": {"allow_chunked_length": False},
        "http2_protocol_options": {
            "max_concurrent_streams": MOST_STREAMS,
            "initial_stream_window_size": STREAM_WINDOW_BYTES,
            "initial_connection_window_size": CONNECTION_WINDOW_BYTES,
        },
        "max_request_headers_kb": LARGEST_HEADERS_KIB,
        "request_headers_timeout": f"{HEADERS_SECONDS}s",
        "request_timeout": f"{REQUEST_SECONDS}s",
        "stream_idle_timeout": f"{IDLE_SECONDS}s",
        "drain_timeout": f"{DRAIN_SECONDS}s",
        "access_log": [ACCESS_LOG],
        "local_reply_config": local_replies(),
        "route_config": {"name": "policy", "virtual_hosts": [host]},
        "http_filters": http_filters(edge.issuer, edge.audience),
    }


def _overload() -> dict[str, Any]:
    heap = "envoy.resource_monitors.fixed_heap"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    kinds = {
        heap: ("fixed_heap.v3.FixedHeapConfig", {"max_heap_size_bytes": HEAP_BYTES}),
        connections: (
            "downstream_connections.v3.DownstreamConnectionsConfig",
            {"max_active_downstream_connections": MOST_CONNECTIONS},
        ),
    }
    actions: Sequence[tuple[str, float]] = (
        ("envoy.overload_actions.shrink_heap", 0.9),
        ("envoy.overload_actions.disable_http_keepalive", 0.92),
        ("envoy.overload_actions.stop_accepting_requests", 0.95),
        ("envoy.overload_actions.stop_accepting_connections", 0.98),
    )
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": name,
                "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.resource_monitors.{kind}", **said},
            }
            for name, (kind, said) in kinds.items()
        ],
        "actions": [
            {"name": name, "triggers": [{"name": heap, "threshold": {"value": value}}]} for name, value in actions
        ],
    }
