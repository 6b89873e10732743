"""Free ports on loopback, chosen once per stack and kept.

The system chooses (bind to port 0), so several stacks on one machine never argue. Between choosing and serving another
process may take a port: the service then fails to start, says so in its log, and the next `up` chooses anew.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: a port whose old connections still fade (TIME_WAIT) is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(names: Iterable[str], kept: Mapping[str, int], serving: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Ports by name: the kept ones where they are free or ours, new ones elsewhere.

    Args:
        kept: ports of earlier starts, by name.
        serving: names whose port is taken by the stack itself.

    Returns:
        The ports, and the names whose kept port another process has taken.
    """
    own = set(serving)
    chosen: dict[str, int] = {}
    moved: list[str] = []
    for name in names:
        port = kept.get(name)
        if port is not None and (name in own or is_free(port)):
            chosen[name] = port
            continue
        if port is not None:
            moved.append(name)
        chosen[name] = _new_port(set(chosen.values()) | set(kept.values()))
    return chosen, moved


def _new_port(taken: set[int]) -> int:
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        if port not in taken:
            return port
