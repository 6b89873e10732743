"""A service behind the gateway as a cluster of Envoy: its instances by site, TLS towards them, their health. Pure.

Settings and their reasons are from trials with killed instances and a killed site: without them Envoy spills to the
second site early (`overprovisioning_factor`), sends to sick instances where most are sick (`healthy_panic_threshold`)
and looks after an unused cluster once a minute only (`no_traffic_interval`).
"""

from __future__ import annotations

from typing import Any

from access.gateway_edge import Address, Backend, Edge

CONNECT_SECONDS = 2
MOST_REQUESTS = 1000
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def internal_name(service: str) -> str:
    """The DNS name in a service's certificate that its instances are known by, wherever they run."""
    return f"{service}.darkroom.internal"


def cluster(name: str, backend: Backend, edge: Edge) -> dict[str, Any]:
    """One service. An instance at a TCP port is spoken to with TLS by both sides; a Unix socket has its owner."""
    by_name = any(address.socket is None for site in backend.sites for address in site)
    return {
        "name": name,
        "type": "STRICT_DNS" if by_name else "STATIC",
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "per_connection_buffer_limit_bytes": 32 * 1024,
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [_health(name, backend.healthy)],
        "outlier_detection": _outliers(),
        "circuit_breakers": {"thresholds": [_thresholds("DEFAULT"), _thresholds("HIGH")]},
        "load_assignment": {
            "cluster_name": name,
            "policy": {"overprovisioning_factor": 1000},
            "endpoints": [
                {
                    "priority": priority,
                    "lb_endpoints": [{"endpoint": {"address": _address(one)}} for one in site],
                }
                for priority, site in enumerate(backend.sites)
            ],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "explicit_http_config": {"http_protocol_options": {}},
                # A door closes connections that rest; one that it closes this moment must not take a request with it.
                "common_http_protocol_options": {"idle_timeout": "3s"},
            }
        },
        **({"transport_socket": {"name": "tls", "typed_config": _tls(name, edge)}} if by_name else {}),
    }


def _address(address: Address) -> dict[str, Any]:
    if address.socket is not None:
        return {"pipe": {"path": str(address.socket)}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _tls(name: str, edge: Edge) -> dict[str, Any]:
    own = {"certificate_chain": {"filename": str(edge.hop_certificate)}, "private_key": {"filename": str(edge.hop_key)}}
    expected = {"san_type": "DNS", "matcher": {"exact": internal_name(name)}}
    return {
        "@type": _TLS,
        "sni": internal_name(name),
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [own],
            "validation_context": {
                "trusted_ca": {"filename": str(edge.hop_ca)},
                "match_typed_subject_alt_names": [expected],
            },
        },
    }


def _health(name: str, path: str) -> dict[str, Any]:
    return {
        "timeout": "3s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": path, "host": internal_name(name)},
    }


def _outliers() -> dict[str, Any]:
    """Who breaks connections is left alone for a while. Answers do not count: a 503 may be the asker's fault."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 100,
    }


def _thresholds(priority: str) -> dict[str, Any]:
    return {
        "priority": priority,
        "max_connections": MOST_REQUESTS,
        "max_pending_requests": MOST_REQUESTS,
        "max_requests": MOST_REQUESTS,
        # Retries are a share of what is under way, so that they do not fell whoever still stands.
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
