"""Which policy the gateway and Dagster's web servers hold: each read it when it started, and says which.

Asked at their Unix sockets: Envoy's admin pages, and the web servers' /server_info.
"""

from __future__ import annotations

from pathlib import Path

from resources.failures import TransientFailure

GATEWAY = "gateway"
TIMEOUT_SECONDS = 5.0


class HolderAway(TransientFailure):
    """What holds a policy does not answer."""


def held_policy(name: str, uds: Path) -> str:
    """The digest (`Policy.digest`) of the policy that one of them holds; empty where it holds none that it knows of.

    Args:
        name: `GATEWAY`, or the name of a web server.
        uds: its socket.

    Raises:
        HolderAway: it does not answer.
    """
    import httpx

    path = "/server_info" if name == GATEWAY else "/dagster/server_info"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(uds)), timeout=TIMEOUT_SECONDS) as client:
            told = client.get(f"http://{name}{path}").raise_for_status().json()
        return str(told["node"]["metadata"].get("policy", "") if name == GATEWAY else told.get("policy", ""))
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise HolderAway(
            f"{name} was asked at {uds} which policy it holds, and did not answer: {error or type(error).__name__}. "
            "`darkroom status` shows if it runs."
        ) from None
