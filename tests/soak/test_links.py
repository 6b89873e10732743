"""A link that is cut loses everything and says nothing; afterwards what waited arrives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.soak import links

SENT = 256 * 1024


def test_outside_a_network_of_its_own_no_link_is_cut() -> None:
    if links.own_network():
        pytest.skip("these tests run in the soak's network: outside of it, this one runs")
    with pytest.raises(RuntimeError, match="this one is the machine's"), links.cut([1]):
        pass


@pytest.mark.skipif(not links.can_be_had(), reason="it takes root, iproute2 and nftables to have a network of its own")
def test_what_is_sent_meanwhile_arrives_afterwards_and_trickles_where_it_is_slow() -> None:
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m", __name__],
        env={**os.environ, links.OWN_NETWORK: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cut, whole, slow = map(float, done.stdout.split())
    assert cut >= 1, "nothing arrived while the link was cut"
    assert slow > 10 * whole


def _measure() -> None:
    """Seconds until a byte arrives whose link is cut for one, and until SENT bytes do, whole and slow."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as inside:
            began = time.monotonic()
            with links.cut([port]):
                client.sendall(b"x")
                inside.settimeout(1)
                with pytest.raises(TimeoutError):
                    inside.recv(1)
                inside.settimeout(30)
            assert inside.recv(1) == b"x"
            cut, whole = time.monotonic() - began, _arrived(client, inside)
            with links.slow([port]):
                print(cut, whole, _arrived(client, inside))


def _arrived(client: socket.socket, inside: socket.socket) -> float:
    began, left = time.monotonic(), SENT
    client.setblocking(False)
    sent = 0
    while left:
        with suppress(BlockingIOError):
            sent += client.send(bytes(min(65536, SENT - sent))) if sent < SENT else 0
        left -= len(inside.recv(65536))
    client.setblocking(True)
    return time.monotonic() - began


if __name__ == "__main__":
    _measure()
