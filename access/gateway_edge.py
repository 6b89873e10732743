"""What a gateway's configuration depends on beside the policy: where it stands, and what is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Address:
    """Where an instance listens: a TCP port, or a Unix socket."""

    host: str = ""
    port: int = 0
    socket: Path | None = None


@dataclass(frozen=True)
class Backend:
    """A service behind the gateway. `sites`: its instances, the second site's after the first's."""

    sites: tuple[tuple[Address, ...], ...]
    healthy: str = "/readyz"
    """Path that answers 200 where an instance can serve."""


@dataclass(frozen=True)
class Edge:
    """What a gateway's configuration depends on beside the policy.

    Args:
        listen: where people come in.
        certificate: PEM chain that they are shown, and `key` of it.
        hop_ca: the authority of the services' certificates, which name each as `<service>.darkroom.internal`.
        hop_certificate: what the gateway shows the services, and `hop_key` of it.
        admin: Unix socket of Envoy's own pages, for its owner alone.
        issuer, audience: of the tokens.
        repeat_bytes: of an image's body, kept so that it can be sent again to another instance; a larger one is not.
    """

    listen: Address
    certificate: Path
    key: Path
    hop_ca: Path
    hop_certificate: Path
    hop_key: Path
    admin: Path
    issuer: str
    audience: str
    repeat_bytes: int
    backends: Mapping[str, Backend]
